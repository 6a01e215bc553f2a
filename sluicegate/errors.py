"""The exceptions of the package, and the HTTP status that each means to a caller.

A parser of bytes from the network raises `ParseError` and nothing else. A call of the API that cannot be served raises
an `ApiError`; `http/problems.py` alone turns it into an RFC 9457 document.
"""

from dataclasses import dataclass
from typing import ClassVar


class SluicegateError(Exception):
    """Base of everything that this package raises on purpose."""


class ParseError(SluicegateError, ValueError):
    """Bytes from a peer that are not what their protocol says."""


class ConfigurationError(SluicegateError):
    """A setting that stops the start; the message is one line that names the variable, its value and what it may
    hold."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field of a request; `pointer` is a JSON pointer (RFC 6901) into the body."""

    pointer: str
    detail: str


class ApiError(SluicegateError):
    """A call that is refused; `status` is the HTTP status, `detail` a sentence for whoever made the call."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Error"

    def __init__(
        self,
        detail: str,
        *,
        pointer: str | None = None,
        errors: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors if pointer is None else (FieldError(pointer, detail), *errors)
        self.retry_after = retry_after

    def below(self, prefix: str) -> "ApiError":
        """The same refusal with every pointer moved under `prefix`, for a caller whose body holds the checked value."""
        moved = tuple(FieldError(prefix + error.pointer, error.detail) for error in self.errors)
        return type(self)(self.detail, errors=moved, retry_after=self.retry_after)


class Malformed(ApiError):
    status, title = 400, "Malformed request"


class Unauthorized(ApiError):
    status, title = 401, "Unauthorized"


class Forbidden(ApiError):
    status, title = 403, "Forbidden"


class NotFound(ApiError):
    status, title = 404, "Not found"


class Conflict(ApiError):
    status, title = 409, "Conflict"


class TooLarge(ApiError):
    status, title = 413, "Content too large"


class UnsupportedMedia(ApiError):
    status, title = 415, "Unsupported media type"


class Invalid(ApiError):
    status, title = 422, "Invalid request"


class TooManyRequests(ApiError):
    status, title = 429, "Too many requests"


class Unavailable(ApiError):
    status, title = 503, "Unavailable"
