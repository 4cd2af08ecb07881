import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from api.labelling.turns import SMALL_AT_ONCE, SMALL_BYTES, Turns
from api.labelling.uploads import Spool
from service.errors import Overloaded, RequestTooSlow, SpoolFull
from service.scoring.deterministic import DeterministicScorer
from service.search.engine import Search
from service.search.predictions.prompt_tree import TreeScores
from service.settings import ServerSettings, Settings
from tests.support.running.harness import CONFIG, Service, jsonl, pairs
from tests.support.stores import ScratchStore

PATIENCE_SECONDS = 30.0
IMPOSSIBLE_BYTES = 10**18  # more than any disk has


async def parts(*lengths: int) -> AsyncIterator[bytes]:
    for length in lengths:
        yield bytes(length)


async def test_large_data_sets_wait_for_their_turn_and_small_ones_do_not_wait_for_them() -> None:
    turns = Turns(1, PATIENCE_SECONDS)
    order: list[str] = []

    async def large(name: str) -> None:
        async with turns.turn(SMALL_BYTES + 1):
            order.append(name)

    async with turns.turn(SMALL_BYTES + 1):
        waiting = asyncio.create_task(large("large"))
        async with turns.turn(SMALL_BYTES):
            await asyncio.sleep(0)
            order.append("small")
        order.append("first")
    await asyncio.wait_for(waiting, PATIENCE_SECONDS)
    assert order == ["small", "first", "large"]


async def test_an_upload_that_waits_too_long_for_its_turn_is_refused() -> None:
    turns = Turns(1, 0.01)
    async with turns.turn(SMALL_BYTES + 1):
        with pytest.raises(Overloaded):
            async with turns.turn(SMALL_BYTES + 1):
                pass
    async with turns.turn(SMALL_BYTES + 1):
        pass  # it is free again


async def test_small_data_sets_have_a_line_of_their_own() -> None:
    turns = Turns(1, 0.01)
    async with turns.turn(SMALL_BYTES), turns.turn(SMALL_BYTES), turns.turn(SMALL_BYTES):
        assert SMALL_AT_ONCE == 3
        with pytest.raises(Overloaded):
            async with turns.turn(1):
                pass


async def test_the_next_turn_goes_to_the_project_that_has_fewest() -> None:
    turns, order = Turns(2, PATIENCE_SECONDS), list[str]()
    ends = asyncio.Event()

    async def upload(project: str) -> None:
        async with turns.turn(SMALL_BYTES + 1, project):
            order.append(project)
            await ends.wait()

    async with turns.turn(SMALL_BYTES + 1, "greedy"):
        tasks = [asyncio.create_task(upload(project)) for project in ["greedy"] * 4 + ["modest"]]
        await asyncio.sleep(0.01)
        assert order == ["greedy"]
    await asyncio.sleep(0.01)
    assert order == ["greedy", "modest"]
    ends.set()
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_SECONDS)


async def test_a_client_that_leaves_before_its_turn_frees_it() -> None:
    turns, gone = Turns(1, PATIENCE_SECONDS), asyncio.Event()

    async def leave() -> None:
        async with turns.turn(SMALL_BYTES + 1, "a", gone):
            raise AssertionError("it is not its turn")

    async with turns.turn(SMALL_BYTES + 1, "b"):
        waiting = asyncio.create_task(leave())
        await asyncio.sleep(0)
        gone.set()
        with pytest.raises(RequestTooSlow):
            await waiting
    async with turns.turn(SMALL_BYTES + 1, "c"):
        pass  # nobody waits in vain


async def test_an_upload_continues_while_there_is_room_and_ends_when_there_is_none() -> None:
    assert [len(part) async for part in Spool(0).watched(parts(1, 20_000_000))] == [1, 20_000_000]
    with pytest.raises(SpoolFull):
        assert [part async for part in Spool(IMPOSSIBLE_BYTES).watched(parts(20_000_000))] == []


async def test_an_upload_for_which_there_is_no_room_is_answered_507_and_nothing_is_stored() -> None:
    settings = Settings(server=ServerSettings(min_free_bytes=IMPOSSIBLE_BYTES))
    service = Service(ScratchStore(), settings=settings)
    rows = [{**row, "padding": "x" * 2_000} for row in pairs(1_000)]
    answer = await service.upload(jsonl(rows), "a.jsonl")
    assert (answer.status_code, answer.json()["type"]) == (507, "urn:icm:problem:spool-full")
    assert int(answer.headers["Retry-After"]) > 0
    assert (await service.client.get("/v1/jobs")).json()["data"] == []
    assert (await service.upload(jsonl(pairs(8)), "a.jsonl")).status_code == 202  # it needs no disk


async def left(service: Service, path: str, body: httpx.Request, leaves: asyncio.Event) -> int:
    """The status of the answer that a client who leaves, once the request is read and this is set, does not get."""
    messages = [{"type": "http.request", "body": body.read(), "more_body": False}]
    answers: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in body.headers.raw],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
    }
    await asyncio.wait_for(service.app(scope, receive, send), PATIENCE_SECONDS)
    status: int = answers[0]["status"]
    return status


def form(content: bytes) -> httpx.Request:
    files, data = {"dataset": ("a.jsonl", content)}, {"config": orjson.dumps(CONFIG)}
    return httpx.Request("POST", "http://localhost", files=files, data=data)


def examples(count: int) -> httpx.Request:
    return httpx.Request("POST", "http://localhost", json={"config": CONFIG, "examples": pairs(count)})


def at_once() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_nothing_is_read_for_a_client_that_has_left() -> None:
    service = Service(ScratchStore())
    assert await left(service, "/v1/jobs", form(jsonl(pairs(8)) + b"\n" * 900_000), at_once()) == 408
    assert (await service.client.get("/v1/jobs")).json()["data"] == []


@pytest.mark.parametrize("body", [form(jsonl(pairs(8))), examples(8)], ids=["form", "json"])
async def test_an_estimate_stops_calling_the_backend_once_its_client_has_left(body: httpx.Request) -> None:
    backend, leaves = Silent(), asyncio.Event()
    backend.asked = leaves
    assert await left(Service(ScratchStore(), backend=backend), "/v1/jobs/estimate", body, leaves) == 408
    assert backend.cancelled


async def test_an_estimate_stops_simulating_once_its_client_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    stays, leaves, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()
    steps: list[asyncio.Event] = []
    ask = Search.ask
    present = stays

    def asked(search: Search) -> Any:
        steps.append(present)
        if present is leaves:
            loop.call_soon_threadsafe(leaves.set)
            time.sleep(0.01)  # the loop is to hear of it
        return ask(search)

    monkeypatch.setattr(Search, "ask", asked)
    assert await left(Service(ScratchStore()), "/v1/jobs/estimate", examples(64), stays) == 200
    present = leaves
    assert await left(Service(ScratchStore()), "/v1/jobs/estimate", examples(64), leaves) == 408
    assert steps.count(leaves) < steps.count(stays) / 2


class Silent(DeterministicScorer):
    """Never answers a request for scores, and records whether its caller kept waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.cancelled = False

    async def score(self, *_: Any, **__: Any) -> TreeScores:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        raise AssertionError("nobody sets it")
