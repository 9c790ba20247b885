"""Times: the clock, and times read from numbers and ISO 8601 strings and written as RFC 3339."""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

LATEST = 253_402_300_799_999  # the last millisecond of the year 9999, the last that RFC 3339 can write
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_OF_UTC = _EPOCH.replace(tzinfo=None)


def now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def millis(value: object) -> int | None:
    """Return milliseconds since 1970 from a number of them or an ISO 8601 string (UTC if it has no zone), else None."""
    if isinstance(value, str):
        return _parse(value)
    if type(value) is not int and type(value) is not float:  # nor bool, which is an int
        return None
    return int(value) if 0 <= value <= LATEST else None


def rfc3339(value: object) -> str | None:
    """Return a time that `millis` can read like `2026-03-09T13:00:00.389Z`, any other as None."""
    if value is None:  # as most of them are
        return None
    ms = millis(value)
    if ms is None:
        return None
    minute, within = divmod(ms, 60_000)
    return f"{_minute(minute)}:{within / 1000:06.3f}Z"


@lru_cache(maxsize=1024)
def _minute(number: int) -> str:
    """Return a minute since 1970 in ISO 8601; cached, since most times of a response are in the same minutes."""
    return (_EPOCH_OF_UTC + timedelta(minutes=number)).isoformat(timespec="minutes")


def _parse(text: str) -> int | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    zoned = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    ms = (zoned - _EPOCH) // timedelta(milliseconds=1)
    return ms if 0 <= ms <= LATEST else None
