"""Values that a text must not contain: all of them and their lines are replaced, however many there are."""

import pytest

from app.engine.hidden_values import HiddenValues

PREFIX = "https://host/"


@pytest.mark.parametrize(
    ("values", "text", "shown"),
    [
        ([], "any text", "any text"),
        (["s3cret", "s3cret-and-more"], "s3cret s3cret-and-more s3cret-and", "*** *** ***-and"),
        (["abcd", "abcdefghij"], "abcdefghij abcdefg abcd", "*** ***efg ***"),
        (["1", "on", ""], "1 on", "1 on"),
        (["two\nlines here"], "lines here", "***"),
        (["a\nb\nc"], "a\nb\nc", "***"),
        (["x" * 70], f"before {'x' * 70} after\nnext {'x' * 63}", f"before ***\nnext {'x' * 63}"),
        (["x" * 64], f"{'x' * 64} after", "*** after"),
        ([f"{PREFIX}{number}" for number in range(17)], f"at {PREFIX}other or\nnext", "at ***\nnext"),
        ([f"{PREFIX}{number}" for number in range(16)], f"at {PREFIX}other {PREFIX}15 or", f"at {PREFIX}other *** or"),
        (["ends here"], "it ends here", "it ***"),
    ],
)  # fmt: skip
def test_values_are_replaced(values: list[str], text: str, shown: str) -> None:
    assert HiddenValues(values).replace(text) == shown


def test_thousands_of_values_are_all_hidden() -> None:
    values = [f"{number * 7919 % 100_003:x}-{number}" for number in range(10_000, 30_000)]
    hidden = HiddenValues(values)
    assert hidden.replace(" ".join(values[::97])).replace("***", "").strip() == ""
