"""The REST API as a client's programmer would call it: JSON in, JSON out, an exception for a problem."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp


class ApiFailure(Exception):
    """An answer of 400 or more."""

    def __init__(self, status: int, problem: Any, headers: dict[str, str]) -> None:
        super().__init__(f"{status}: {problem}")
        self.status = status
        self.problem = problem
        self.headers = headers

    @property
    def pointers(self) -> list[str]:
        """The fields that the problem blames."""
        return [error["pointer"] for error in self.problem.get("errors", ())]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """One caller. `async with Api(url, token) as api`."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> Answer:
        """Any request, any answer; options are aiohttp's (`json`, `data`, `params`)."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        async with self._session.request(
            method, self.url + path, headers={**self._headers, **(headers or {})}, **options
        ) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The JSON of the answer (None without a body). Raises ApiFailure."""
        if body is not None:
            options["json"] = body
        answer = await self.request(method, path, **options)
        if answer.status >= 400:
            try:
                problem = answer.json()
            except ValueError:
                problem = answer.body.decode(errors="replace")
            raise ApiFailure(answer.status, problem, answer.headers)
        return answer.json() if answer.body else None

    async def create_session(
        self, channel: str, user: str, session_type: str = "video", **fields: Any
    ) -> dict[str, Any]:
        """`POST /sessions`."""
        body = {"type": session_type, "channel_id": channel, "user_id": user, **fields}
        created: dict[str, Any] = await self.call("POST", "/sessions", body)
        return created

    async def channel(self, channel: str) -> dict[str, Any]:
        """`GET /channels/{id}`."""
        view: dict[str, Any] = await self.call("GET", f"/channels/{channel}")
        return view

    async def tracks(self, channel: str) -> list[dict[str, Any]]:
        """The tracks that are published in the channel."""
        tracks: list[dict[str, Any]] = (await self.channel(channel))["tracks"]
        return tracks

    @asynccontextmanager
    async def events(self, channel: str, **params: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """The channel's event stream as a WebSocket; `await socket.receive_json()` gives the next event."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        path = f"{self.url}/channels/{channel}/events"
        async with self._session.ws_connect(path, headers=self._headers, params=params) as socket:
            yield socket
