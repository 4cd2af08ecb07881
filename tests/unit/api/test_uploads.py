import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest

from api.labelling.turns import SMALL_AT_ONCE, SMALL_BYTES, Turns
from api.labelling.uploads import Spool
from service.errors import Overloaded, RequestTooSlow, SpoolFull
from service.settings import ServerSettings, Settings
from service.storage.memory import MemoryStore
from tests.unit.api.harness import CONFIG, Service, jsonl, pairs

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


async def test_who_waits_too_long_for_a_turn_is_told_to_come_back() -> None:
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


async def test_who_leaves_before_the_turn_comes_gives_it_up() -> None:
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


async def test_an_upload_goes_on_while_there_is_room_and_ends_when_there_is_none() -> None:
    assert [len(part) async for part in Spool(0).watched(parts(1, 20_000_000))] == [1, 20_000_000]
    with pytest.raises(SpoolFull):
        assert [part async for part in Spool(IMPOSSIBLE_BYTES).watched(parts(20_000_000))] == []


async def test_an_upload_for_which_there_is_no_room_is_answered_507_and_nothing_is_stored() -> None:
    settings = Settings(server=ServerSettings(min_free_bytes=IMPOSSIBLE_BYTES))
    service = Service(MemoryStore(), settings=settings)
    rows = [{**row, "padding": "x" * 2_000} for row in pairs(1_000)]
    answer = await service.upload(jsonl(rows), "a.jsonl")
    assert (answer.status_code, answer.json()["type"]) == (507, "urn:icm:problem:spool-full")
    assert int(answer.headers["Retry-After"]) > 0
    assert (await service.client.get("/v1/jobs")).json()["data"] == []
    assert (await service.upload(jsonl(pairs(8)), "a.jsonl")).status_code == 202  # it needs no disk


async def test_nothing_is_read_on_for_a_client_who_has_left() -> None:
    service = Service(MemoryStore())
    form = httpx.Request(
        "POST",
        "http://localhost/v1/jobs",
        files={"dataset": ("a.jsonl", jsonl(pairs(8)) + b"\n" * 900_000)},
        data={"config": orjson.dumps(CONFIG)},
    )
    messages = [{"type": "http.request", "body": form.read(), "more_body": False}, {"type": "http.disconnect"}]
    answers: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Any) -> None:
        answers.append(message)

    headers = [(name.lower(), value) for name, value in form.headers.raw]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/jobs",
        "raw_path": b"/v1/jobs",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
    }
    await service.app(scope, receive, send)
    assert answers[0]["status"] == 408
    assert (await service.client.get("/v1/jobs")).json()["data"] == []
