"""Forks API processes on demand, some of which die at a planned moment.

For each line on standard input one is forked and its process id printed. The line says how many
answers to `POST /v1/jobs` it is from death: at the last of them it is killed as by `kill -9` when the job
is committed and not a byte of the answer has been sent. At the end of the input all are killed.
"""

import contextlib
import os
import signal
import sys
from unittest.mock import patch

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import api.__main__ as door
from api.app import create_app
from service.bootstrap import Application

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


def fork(answers_left: int) -> int:
    """An API in a process of its own; its id."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(0)
        os.dup2(2, 1)
        try:
            with patch.object(door, "create_app", lambda application: _doomed(application, answers_left)):
                door.main()
        finally:
            os._exit(1)
    return child


def _doomed(application: Application, answers_left: int) -> FastAPI:
    app = create_app(application)
    if answers_left != FOREVER:
        app.add_middleware(DiesBeforeAnswering, answers_left=answers_left)
    return app


def serve() -> None:
    """Fork until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them, so none becomes a zombie
    children = []
    for line in sys.stdin:
        children.append(fork(int(line)))
        sys.stdout.write(f"{children[-1]}\n")
        sys.stdout.flush()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    serve()
