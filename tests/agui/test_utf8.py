"""Telling text from other bytes, part by part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agui import lenient
from app.agui.lenient import require_utf8


def refused(text: bytes) -> bool:
    try:
        require_utf8(text)
    except UnicodeDecodeError:
        return True
    return False


@given(st.binary(max_size=12) | st.text(max_size=12).map(lambda text: text.encode(errors="surrogatepass")))
def test_only_utf8_is_taken_wherever_the_parts_meet(text: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lenient, "_PART", 3)
        assert refused(text) == (text != text.decode(errors="ignore").encode())


def test_a_character_may_stand_where_two_parts_meet() -> None:
    require_utf8(b"x" * (lenient._PART - 1) + "\N{ROCKET}".encode())
