"""A server on loopback that gives planned replies and records its requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse


@dataclass
class Loopback:
    """Gives planned answers; one server serves a whole session, since starting takes longer than most tests."""

    url: str = ""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    _replies: dict[str, list[Any]] = field(default_factory=dict)

    def plan(self, replies: Mapping[str, Sequence[Any]]) -> None:
        """The answers of each path from now on, one for each coming call; the last one repeats.

        A reply is the JSON of an HTTP 200, or a pair of another status and its JSON; paths without
        any are not found. What was asked before is forgotten.
        """
        self._replies = {path: list(planned) for path, planned in replies.items()}
        self.asked, self.keys = [], set()

    def app(self) -> FastAPI:
        """One route for all paths."""
        app = FastAPI()
        app.add_api_route("/{path:path}", self._answer, methods=["GET", "POST"])
        return app

    def bodies(self, path: str) -> list[Any]:
        """The bodies posted to this path."""
        return [body for asked, body in self.asked if asked == path]

    async def _answer(self, request: Request) -> JSONResponse:
        path = request.url.path
        self.asked.append((path, await request.json() if await request.body() else None))
        self.keys.add(request.headers.get("authorization"))
        planned = self._replies.get(path)
        if not planned:
            return JSONResponse({"error": {"message": "Not Found", "code": 404}}, 404)
        reply = planned.pop(0) if len(planned) > 1 else planned[0]
        status, content = reply if isinstance(reply, tuple) else (200, reply)
        return JSONResponse(content, status)
