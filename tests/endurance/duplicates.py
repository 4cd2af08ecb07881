"""Sends one request many times at once, under one Idempotency-Key."""

import asyncio
import time
from dataclasses import dataclass

import httpx

from tests.acceptance.api_process import api_process
from tests.support.running.harness import CONFIG, pairs


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of the trial."""

    posts: int
    statuses: set[int]
    bodies: int  # different ones
    jobs: int
    replayed: int
    changed_status: int  # of the answer to another request under the same key
    seconds: float


async def post_duplicates(database_url: str, *, posts: int, connections: int) -> Outcome:
    """Send one job many times over several connections, then another one under its key."""
    body = {"config": CONFIG, "examples": pairs(8)}
    headers = {"Idempotency-Key": "the-one-key"}
    limits = httpx.Limits(max_connections=connections)
    async with api_process(database_url) as api:
        url = str(api.client.base_url)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=300) as client:
            began = time.monotonic()
            answers = await asyncio.gather(*(client.post("/v1/jobs", json=body, headers=headers) for _ in range(posts)))
            seconds = time.monotonic() - began
            changed = await client.post("/v1/jobs", json={**body, "examples": pairs(10)}, headers=headers)
            stored = (await client.get("/v1/jobs", params={"limit": 1000})).json()["data"]
    return Outcome(
        posts=posts,
        statuses={answer.status_code for answer in answers},
        bodies=len({answer.content for answer in answers}),
        jobs=len(stored),
        replayed=sum("Idempotency-Replayed" in answer.headers for answer in answers),
        changed_status=changed.status_code,
        seconds=seconds,
    )
