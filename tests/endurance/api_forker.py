"""Forks API processes on demand, some of which die at a planned moment.

For each line on standard input one is forked and its process id printed. The line says how many
answers to `POST /v1/jobs` it is from death: at the last of them it is killed as by `kill -9` when the job
is committed and not a byte of the answer has been sent. At the end of the input all are killed.
"""

import os
import signal
from unittest.mock import patch

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import api.__main__ as door
from api.app import create_app
from service.bootstrap import Application
from tests.integration.forker import serve

FOREVER = 0


class DiesBeforeAnswering:
    """Kills its own process as the answer to a POST of a job is about to go out, once it has let others pass."""

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


def run(line: str) -> None:
    """An API that is so many answers from death."""
    os.dup2(2, 1)
    with patch.object(door, "create_app", lambda application: _doomed(application, int(line))):
        door.main()


def _doomed(application: Application, answers_left: int) -> FastAPI:
    app = create_app(application)
    if answers_left != FOREVER:
        app.add_middleware(DiesBeforeAnswering, answers_left=answers_left)
    return app


if __name__ == "__main__":
    serve(run)
