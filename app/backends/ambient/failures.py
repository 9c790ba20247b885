"""What goes wrong between here and the platform, in the words of `app.errors`."""

from http import HTTPStatus
from types import TracebackType

import msgspec

from app.backends.ambient.texts import clean
from app.errors import ApiError, BackendError, BackendTimeout, BackendUnavailable, Forbidden, Unauthorized

ERRORS = range(400, 600)


class _Translated:
    """A block in which every error of connecting, reading and decoding becomes one of ours, its cause chained.

    A RecursionError is how the decoder refuses JSON that is nested without end.
    """

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, TimeoutError):
            raise BackendTimeout from error
        if isinstance(error, (OSError, msgspec.DecodeError, UnicodeError, RecursionError)):
            raise BackendUnavailable from error


translated = _Translated()


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
