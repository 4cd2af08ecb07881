import asyncio
from collections.abc import AsyncIterator

import pytest

from api.uploads import SMALL_AT_ONCE, SMALL_BYTES, Spool, Turns
from service.errors import Overloaded, SpoolFull
from service.settings import ServerSettings, Settings
from service.storage.memory import MemoryStore
from tests.unit.api.harness import Service, jsonl, pairs

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
