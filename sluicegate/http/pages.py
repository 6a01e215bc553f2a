"""The web app at `/`: files of the package, read once, served by exact name.

A request is a key into a table that was made at start, so no path can lead anywhere else. Every file has a strong ETag
and is revalidated each time (`no-cache`): a new version of the server is seen at once, and an unchanged file costs a
304.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from aiohttp import web

from sluicegate.errors import NotFound
from sluicegate.http.routing import Access, Call, Operation
from sluicegate.http.security import page_policy

TAG = "Operations"
INDEX = "index.html"

CONTENT_TYPES: Mapping[str, str] = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "jpg": "image/jpeg",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "map": "application/json",
    "md": "text/plain; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "wasm": "application/wasm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff2": "font/woff2",
}
"""By ending; a file without one is a licence or a notice, and plain text. Files with other endings are not served."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file, as it is sent."""

    body: bytes
    content_type: str
    etag: str


class Pages:
    """The files of the web app below `root` (the package's `web` folder)."""

    def __init__(self, root: Traversable | None = None) -> None:
        folder = files("sluicegate.http").joinpath("web") if root is None else root
        self._files = dict(_read(folder, "")) if folder.is_dir() else {}

    def __len__(self) -> int:
        return len(self._files)

    async def index(self, call: Call) -> web.StreamResponse:
        return self._answer(call.request, INDEX)

    async def file(self, call: Call) -> web.StreamResponse:
        return self._answer(call.request, call.path["path"])

    async def icon(self, call: Call) -> web.StreamResponse:
        name = next((name for name in ("favicon.ico", "favicon.svg", "icon.svg") if name in self._files), "favicon.ico")
        return self._answer(call.request, name)

    def _answer(self, request: web.Request, name: str) -> web.Response:
        file = self._files.get(name)
        if file is None:
            raise NotFound("There is no such file.")
        headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
        if file.content_type.startswith("text/html"):
            headers["Content-Security-Policy"] = page_policy(request.headers.get("Host", ""))
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
        if file.etag in known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.body, headers={**headers, "Content-Type": file.content_type})

    def operations(self) -> tuple[Operation, ...]:
        """Rows of the table."""
        return (
            Operation(
                method="GET",
                path="/",
                operation_id="webApp",
                summary="The web app",
                handler=self.index,
                tag=TAG,
                access=Access.PUBLIC,
                media_type="text/html",
                refusals=(404,),
                quiet=True,
            ),
            Operation(
                method="GET",
                path="/web/{path:.+}",
                operation_id="webFile",
                summary="A file of the web app",
                handler=self.file,
                tag=TAG,
                access=Access.PUBLIC,
                quiet=True,
                documented=False,
            ),
            Operation(
                method="GET",
                path="/favicon.ico",
                operation_id="favicon",
                summary="The icon of the web app",
                handler=self.icon,
                tag=TAG,
                access=Access.PUBLIC,
                quiet=True,
                documented=False,
            ),
        )


def _read(folder: Traversable, prefix: str) -> Iterator[tuple[str, PageFile]]:
    for entry in folder.iterdir():
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
            continue
        _, dot, ending = entry.name.rpartition(".")
        content_type = CONTENT_TYPES.get(ending) if dot else CONTENT_TYPES["txt"]
        if content_type is not None:
            body = entry.read_bytes()
            yield prefix + entry.name, PageFile(body, content_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
