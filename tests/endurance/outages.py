"""Measures the API while its Postgres is killed, shut down, cut off and frozen: answers, delays and losses."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from service.settings import DatabaseSettings
from tests.acceptance.api_process import api_process
from tests.endurance.kept_postgres import KeptPostgres, until
from tests.support.running.harness import CONFIG, pairs

POOL_SIZE = DatabaseSettings().pool_size
_BODY = {"config": CONFIG, "examples": pairs(4)}
_DISCONNECT_HALF = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    " AND random() < 0.5"
)
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'icm' AND wait_event_type = 'Lock'"


@dataclass
class Load:
    """Requests of several senders, each one after the other, and their answers."""

    client: httpx.AsyncClient
    statuses: Counter[int] = field(default_factory=Counter)
    rude: list[str] = field(default_factory=list)  # refusals that are no problem documents or have no Retry-After
    stored: set[str] = field(default_factory=set)  # jobs that the API has confirmed
    longest_seconds: float = 0.0

    @asynccontextmanager
    async def running(self, senders: int = 4) -> AsyncIterator[None]:
        """Send requests within the block."""
        sending = [asyncio.create_task(self._send(posts=number % 2 == 0)) for number in range(senders)]
        try:
            yield
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    async def _send(self, *, posts: bool) -> None:
        while True:
            await (self.post() if posts else self.ask("/v1/jobs"))

    async def post(self) -> bool:
        """Send a job; returns whether it was accepted."""
        answer = await self._timed(self.client.post("/v1/jobs", json=_BODY))
        if answer.status_code == httpx.codes.ACCEPTED:
            self.stored.add(answer.json()["id"])
        return answer.is_success

    async def ask(self, path: str = "/health/ready") -> bool:
        """Send a request; returns whether it succeeded."""
        return (await self._timed(self.client.get(path))).is_success

    async def _timed(self, request: Awaitable[httpx.Response]) -> httpx.Response:
        began = time.monotonic()
        answer = await request
        self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
        self.statuses[answer.status_code] += 1
        if not answer.is_success:
            kind = answer.headers.get("content-type", "")
            if kind != "application/problem+json" or "retry-after" not in answer.headers:
                self.rude.append(f"{answer.status_code} {kind} {answer.text[:200]}")
        return answer


@dataclass(kw_only=True)
class Outcome:
    """The outcome of the trial."""

    faults: dict[str, int]
    statuses: dict[int, int]
    rude: list[str]
    lost: int  # confirmed jobs
    longest_seconds: float  # of all answers
    back_seconds: list[float]  # from the moment when Postgres accepts connections until the API serves
    sessions: int  # of the API's pool at the end, under more requests than connections


@asynccontextmanager
async def loaded(kept: KeptPostgres) -> AsyncIterator[Load]:
    """An API over this server, and a sender of requests."""
    async with api_process(kept.server.url) as api:
        yield Load(api.client)


async def kill_postgres(kept: KeptPostgres, faults: int) -> Outcome:
    """Kill the server, shut it down at once, kill a session, and so on, under requests."""
    ways = (kept.kill_server, kept.shut_down, kept.kill_backend)
    counted: Counter[str] = Counter()
    back: list[float] = []
    async with loaded(kept) as load:
        async with load.running():
            for number in range(faults):
                way = ways[number % len(ways)]
                await until(load.post)
                await way()
                counted[way.__name__] += 1
                back.append(await _back(kept, load))
        return await _outcome(kept, load, counted, back)


async def disconnect_half(kept: KeptPostgres, rounds: int, pause_seconds: float) -> Outcome:
    """End half of all sessions again and again, under requests."""
    counted: Counter[str] = Counter()
    async with loaded(kept) as load:
        async with load.running():
            for _ in range(rounds):
                counted["sessions ended"] += int(str(await kept.query(_DISCONNECT_HALF)))
                await asyncio.sleep(pause_seconds)
                await load.ask()
        return await _outcome(kept, load, counted, [])


async def freeze(kept: KeptPostgres, requests: int) -> Outcome:
    """Stop every process of the server for a while: connections stay open, and nothing answers."""
    async with loaded(kept) as load:
        await until(load.post)
        with kept.frozen():
            await asyncio.gather(*(load.ask("/v1/jobs") for _ in range(requests)))
        return await _outcome(kept, load, Counter(frozen=1), [await _back(kept, load)])


async def _back(kept: KeptPostgres, load: Load) -> float:
    """How long after Postgres accepts connections the API serves again."""
    await until(lambda: _connects(kept))
    return await until(load.ask)


async def _connects(kept: KeptPostgres) -> bool:
    try:
        await kept.query("SELECT 1")
    except Exception:  # noqa: BLE001 - any error: not ready yet
        return False
    return True


async def _outcome(kept: KeptPostgres, load: Load, faults: Counter[str], back: list[float]) -> Outcome:
    await until(load.ask)
    sessions = await _sessions_under_pressure(kept, load)
    there = set(await _values(kept, "SELECT id FROM jobs"))
    return Outcome(
        faults=dict(faults),
        statuses=dict(load.statuses),
        rude=load.rude,
        lost=len(load.stored - there),
        longest_seconds=load.longest_seconds,
        back_seconds=back,
        sessions=sessions,
    )


async def _values(kept: KeptPostgres, query: str) -> list[str]:
    connection = await kept.connect()
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def _sessions_under_pressure(kept: KeptPostgres, load: Load) -> int:
    """The number of the API's sessions while more requests than its pool has connections wait for one lock."""
    operator = await kept.connect()
    asking: list[asyncio.Task[httpx.Response]] = []

    async def all_wait() -> bool:
        return int(str(await kept.query(_SESSIONS))) >= POOL_SIZE

    try:
        async with operator.transaction():
            await operator.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            asking += [asyncio.create_task(load.client.get("/v1/jobs")) for _ in range(POOL_SIZE + 2)]
            await _while_it_lasts(all_wait)
            sessions = int(str(await kept.query(_SESSIONS)))
    finally:
        await asyncio.gather(*asking, return_exceptions=True)
        await operator.close()
    return sessions


async def _while_it_lasts(condition: Callable[[], Awaitable[bool]]) -> None:
    with contextlib.suppress(AssertionError):
        await until(condition)
