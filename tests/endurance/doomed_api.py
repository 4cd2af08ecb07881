"""An API that dies as by `kill -9` at a planned moment: after the commit of a job and before its answer."""

import os
import signal
from unittest.mock import patch

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import api.__main__ as door
from api.app import create_app
from service.bootstrap import Application

FOREVER = 0


class DiesBeforeAnswering:
    """Kills its own process before it sends the answer to a POST of a job, after a number of other answers."""

    def __init__(self, app: ASGIApp, answers_left: int) -> None:
        self._app = app
        self._answers_left = answers_left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def deadly(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 202:
                self._answers_left -= 1
                if self._answers_left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            await send(message)

        is_post = scope["type"] == "http" and (scope["method"], scope["path"]) == ("POST", "/v1/jobs")
        await self._app(scope, receive, deadly if is_post else send)


def main(answers: int) -> None:
    """Serve until this many answers to `POST /v1/jobs` are due, or until stopped."""
    os.dup2(2, 1)
    with patch.object(door, "create_app", lambda application: _doomed(application, answers)):
        door.main()


def _doomed(application: Application, answers_left: int) -> FastAPI:
    app = create_app(application)
    if answers_left != FOREVER:
        app.add_middleware(DiesBeforeAnswering, answers_left=answers_left)
    return app
