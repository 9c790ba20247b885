"""Errors of the client: each is one sentence for a person."""


class CliError(Exception):
    """A request that failed.

    `code` is the API's error code, if the API sent one. `retryable` says that the same request may succeed later, and
    `retry_after` how many seconds the server asks to wait.
    """

    def __init__(self, message: str, *, code: str = "", retryable: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.retry_after = retry_after


class ConnectionLost(CliError):
    """No response arrived, or the first attempt of the same request is still in progress."""
