"""A server on loopback that gives replies by plan and keeps what it was asked."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tests.inference.served import served


@dataclass
class Loopback:
    """`replies` holds what each path answers, one for each coming call; the last one stays.

    A reply is the JSON of an HTTP 200, or a pair of another status and its JSON; paths without any are not found.
    """

    replies: dict[str, list[Any]]
    asked: list[tuple[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)

    def app(self) -> FastAPI:
        """One route for everything."""
        app = FastAPI()
        app.add_api_route("/{path:path}", self._answer, methods=["GET", "POST"])
        return app

    def bodies(self, path: str) -> list[Any]:
        """What was posted to this path."""
        return [body for asked, body in self.asked if asked == path]

    async def _answer(self, request: Request) -> JSONResponse:
        path = request.url.path
        self.asked.append((path, await request.json() if await request.body() else None))
        self.keys.add(request.headers.get("authorization"))
        planned = self.replies.get(path)
        if not planned:
            return JSONResponse({"error": {"message": "Not Found", "code": 404}}, 404)
        reply = planned.pop(0) if len(planned) > 1 else planned[0]
        status, content = reply if isinstance(reply, tuple) else (200, reply)
        return JSONResponse(content, status)


@contextmanager
def answering(replies: Mapping[str, Sequence[Any]]) -> Iterator[tuple[Loopback, str]]:
    """Serve these replies, by path, for as long as the body runs."""
    loopback = Loopback({path: list(planned) for path, planned in replies.items()})
    with served(loopback.app()) as url:
        yield loopback, url
