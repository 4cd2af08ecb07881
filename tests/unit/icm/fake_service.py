"""A fake service that records requests and gives planned answers."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from icm import AsyncClient, Client, RetryPolicy
from tests.support.commands import IMPATIENT

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def job_document(status: str = "queued", **changes: Any) -> dict[str, Any]:
    ended = status in {"succeeded", "failed", "cancelled"}
    return {
        "id": "job_1",
        "object": "job",
        "name": "capitals",
        "status": status,
        "created_at": "2026-11-24T00:00:00Z",
        "started_at": None,
        "finished_at": "2026-11-24T00:01:00Z" if ended else None,
        "config": {},
        "progress": {"rows": 4, "labeled": 4 if ended else 0},
        "error": None,
        "links": {},
        **changes,
    }


def job_answer(status: str = "queued", code: int = 200, **changes: Any) -> httpx.Response:
    return httpx.Response(code, json=job_document(status, **changes))


def problem(status: int, kind: str, **extra: Any) -> httpx.Response:
    document = {"type": f"urn:icm:problem:{kind}", "status": status, "title": kind, "detail": f"{kind}!", **extra}
    return httpx.Response(status, content=json.dumps(document), headers={"Content-Type": "application/problem+json"})


class FakeService:
    """Gives its answers in turn; it repeats the last one."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return answer(request)

    async def answer_later(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self(request)

    def client(self, retries: RetryPolicy = IMPATIENT) -> Client:
        return Client("http://service", transport=httpx.MockTransport(self), retries=retries)

    def async_client(self, retries: RetryPolicy = IMPATIENT) -> AsyncClient:
        return AsyncClient("http://service", transport=httpx.MockTransport(self.answer_later), retries=retries)
