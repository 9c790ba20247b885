"""Values that a text must not contain: a session's secrets, found in time linear in the text however many there are.

One regular expression with an alternative for each value takes seconds to compile for thousands of values, and tries
all of them at each position. Here a table finds the few values that can begin at a position by their first characters.
"""

from collections.abc import Collection, Iterator

SHORTEST = 4
"""Shorter values, such as `1` or `on`, are no secrets and occur in many texts."""

_START = 8  # characters by which values are found
_COMPARED = 64  # characters of a longer value that are compared
_CANDIDATES = 16  # values with the same start that are compared


class HiddenValues:
    """The values to hide, and their lines, since a text may hold only some of them.

    Where the first _COMPARED characters of a longer value occur, or the start that more than _CANDIDATES values share,
    the rest of the line is hidden too. So the work at each position is bounded, and nothing is shown by it.
    """

    def __init__(self, values: Collection[str]) -> None:
        candidates: dict[str, dict[str, bool]] = {}
        for part in {part.strip() for value in values for part in (value, *value.splitlines())}:
            if len(part) >= SHORTEST:
                found = candidates.setdefault(part[:_START], {})
                found[part[:_COMPARED]] = found.get(part[:_COMPARED], False) or len(part) > _COMPARED
        self._candidates = {
            start: sorted(found.items(), reverse=True) if len(found) <= _CANDIDATES else [(start, True)]
            for start, found in candidates.items()
        }
        """By the first characters: each beginning, longest first, and whether it hides the rest of its line."""
        self._lengths = sorted({len(start) for start in candidates}, reverse=True)

    def replace(self, text: str) -> str:
        """Return the text with `***` in place of every value."""
        return "".join(self._pieces(text)) if self._candidates else text

    def _pieces(self, text: str) -> Iterator[str]:
        shown = position = 0
        while position < len(text):
            end = self._end_of_value(text, position)
            if end > position:
                yield text[shown:position]
                yield "***"
                shown = position = end
            else:
                position += 1
        yield text[shown:]

    def _end_of_value(self, text: str, position: int) -> int:
        """Return where the value that begins at a position ends; the position itself if none does."""
        for length in self._lengths:
            for value, hides_line in self._candidates.get(text[position : position + length], ()):
                if text.startswith(value, position):
                    end = text.find("\n", position + len(value)) if hides_line else position + len(value)
                    return end if end >= 0 else len(text)
        return position
