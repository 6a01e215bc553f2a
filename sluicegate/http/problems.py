"""Refusals as RFC 9457 documents: the one place where an error class becomes an HTTP answer.

Every answer of 400 and above that leaves the server is made here, also those that aiohttp decides on by itself (an
unknown path, a method that a path does not have, bytes that are not HTTP). A caller may rely on `type`, `title`,
`status`, `detail` and `errors`; `errors[].pointer` is a JSON pointer (RFC 6901) into the body that was sent.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from sluicegate.errors import ApiError, Invalid, ParseError, Unauthorized

CONTENT_TYPE = "application/problem+json"

# A detail may quote what the caller sent. Longer: a 256 KiB key comes back whole, and into the log. Shorter: a list of
# what would have been allowed is cut.
MAX_DETAIL = 400

# Longer: one body full of mistakes makes a large answer. Nobody mends more than this at once.
MAX_ERRORS = 32


class ProblemError(msgspec.Struct, frozen=True):
    """One wrong field: where it stands in the body, and what is wrong with it."""

    pointer: str
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An RFC 9457 problem; `type` is a URN that names the class of problem, `checks` is only there when `/readyz` says
    no."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[ProblemError, ...] | msgspec.UnsetType = msgspec.UNSET
    checks: tuple[dict[str, Any], ...] | msgspec.UnsetType = msgspec.UNSET


class RequestTimeout(ApiError):
    """The body of a request did not arrive in time."""

    status, title = 408, "Request timeout"


class NotAcceptable(ApiError):
    """None of the forms in which an answer exists is one that the caller takes."""

    status, title = 406, "Not acceptable"


def short(text: str) -> str:
    """`text` with at most `MAX_DETAIL` characters, and without characters that a terminal would obey."""
    if len(text) > MAX_DETAIL:
        text = text[: MAX_DETAIL - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def problem_type(title: str) -> str:
    """The URN for a class of problem: its title in lower case with hyphens."""
    return "urn:sluicegate:problem:" + title.lower().replace(" ", "-")


def problem_body(status: int, title: str, detail: str, errors: tuple[ProblemError, ...] = ()) -> bytes:
    """The document itself, encoded."""
    fields = errors[:MAX_ERRORS] or msgspec.UNSET
    return msgspec.json.encode(Problem(problem_type(title), title, status, short(detail), fields))


def response_to(error: ApiError) -> web.Response:
    """The answer that says `error` to whoever made the call."""
    errors = tuple(ProblemError(short(e.pointer), short(e.detail)) for e in error.errors)
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = challenge(error.detail)
    response = plain_problem(error.status, error.title, error.detail, errors, headers)
    if error.status in (408, 413):
        response.force_close()  # what is left of the body is not worth reading
    return response


def plain_problem(
    status: int,
    title: str,
    detail: str,
    errors: tuple[ProblemError, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A problem that no `ApiError` stands for."""
    body = problem_body(status, title, detail, errors)
    return web.Response(status=status, body=body, content_type=CONTENT_TYPE, headers=headers)


def challenge(detail: str) -> str:
    """The `WWW-Authenticate` value of a 401 (RFC 6750 §3); `detail` as the quoted description."""
    text = "".join(c for c in short(detail) if " " <= c <= "~" and c not in '"\\')
    return f'Bearer realm="sluicegate", error="invalid_token", error_description="{text}"'


def from_parse_error(error: ParseError) -> ApiError:
    """What a parser of peer bytes refused, when the bytes came in a request."""
    return Invalid(str(error) or "The body holds bytes that do not follow their protocol.")


_SENTENCES = {
    404: "Nothing lives at this path.",
    405: "This path does not take this method; Allow lists those that it takes.",
    417: "The Expect header holds something other than 100-continue.",
}


def from_http_exception(error: web.HTTPException) -> web.Response:
    """aiohttp's own refusals in the same form."""
    title = HTTPStatus(error.status).phrase.capitalize()
    headers = {name: error.headers[name] for name in ("Allow", "Location", "Retry-After") if name in error.headers}
    return plain_problem(error.status, title, _SENTENCES.get(error.status, title + "."), headers=headers)
