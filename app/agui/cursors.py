"""Cursors of a log whose events keep their positions: the position in decimal.

Clients treat a cursor as a text without meaning, so that a backend can replace these by its own.
"""

from app.errors import CursorExpired

START = 0
"""The position before the first event."""


def to_cursor(position: int) -> str:
    """Return the cursor after the event at a position."""
    return str(position)


def to_position(cursor: str | None) -> int:
    """Return the position of the event that a cursor comes after, START without a cursor.

    The log need not be as long. Raises `CursorExpired` for a text that is the cursor of no log.
    """
    if cursor is None:
        return START
    if cursor.isascii() and cursor.isdecimal():
        position = int(cursor)
        if to_cursor(position) == cursor:
            return position
    raise CursorExpired
