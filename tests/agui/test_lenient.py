"""Checking bytes for UTF-8 part by part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agui import lenient
from app.agui.lenient import require_utf8


def rejected(text: bytes) -> bool:
    try:
        require_utf8(text)
    except UnicodeDecodeError:
        return True
    return False


@given(st.binary(max_size=12) | st.text(max_size=12).map(lambda text: text.encode(errors="surrogatepass")))
def test_only_utf8_passes_wherever_the_parts_meet(text: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lenient, "_PART", 3)
        assert rejected(text) == (text != text.decode(errors="ignore").encode())


def test_a_character_may_span_two_parts() -> None:
    require_utf8(b"x" * (lenient._PART - 1) + "\N{ROCKET}".encode())
