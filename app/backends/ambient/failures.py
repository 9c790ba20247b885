"""What goes wrong between here and the platform, in the words of `app.errors`."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import msgspec

from app.backends.ambient.texts import clean
from app.errors import ApiError, BackendError, BackendTimeout, BackendUnavailable, Forbidden, Unauthorized

ERRORS = range(400, 600)


@contextmanager
def translated() -> Iterator[None]:
    """Turn every error of connecting, reading and decoding into one of ours, its cause chained.

    A RecursionError is how the decoder refuses JSON that is nested without end.
    """
    try:
        yield
    except TimeoutError as error:
        raise BackendTimeout from error
    except (OSError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BackendUnavailable from error


def failure(status: int, text: str | None) -> ApiError:
    """Name the error for an answer that is not a success: its status and its own text, cleaned.

    An answer that is neither a success nor an error (a redirect, say) is no usable answer.
    """
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return Unauthorized(clean(text))
        case HTTPStatus.FORBIDDEN:
            return Forbidden(clean(text))
        case _ if status in ERRORS:
            return BackendError(clean(text), status=status)
    return BackendUnavailable()
