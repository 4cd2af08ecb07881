"""The supervisor of a real Postgres; the test decides how much disk space is free and what the clock shows."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil
import pytest

from icm.local_stack.disk_reserve import AMPLE_ROOM_BYTES, LITTLE_ROOM_BYTES, MIB, DiskReserve
from icm.local_stack.embedded_postgres import EmbeddedPostgres
from icm.local_stack.postgres_binaries import EmbeddedPostgresError
from icm.local_stack.postgres_supervisor import (
    LONGEST_PAUSE_SECONDS,
    LOOK_SECONDS,
    MOST_DEATHS,
    SETTLED_SECONDS,
    PostgresSupervisor,
)
from icm.local_stack.supervisor import PartFailed
from service.storage.engine import driver_address

PATIENCE_SECONDS = 60.0
BUSY = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"


@dataclass
class Kept:
    """A server with its supervisor; the test decides the time and the free disk space."""

    folder: Path
    room_bytes: int = 10 * AMPLE_ROOM_BYTES
    now: float = 0.0
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = EmbeddedPostgres(self.folder, durable=False)
        self.reserve = DiskReserve(self.folder, size_bytes=MIB, room_on=lambda _: self.room_bytes)
        self.keeper = PostgresSupervisor(self.server, self.reserve, self.said.append, clock=lambda: self.now)

    @property
    def pid(self) -> int:
        return int((self.folder / "data" / "postmaster.pid").read_text().split("\n")[0])

    def kill(self) -> None:
        """End the server, and wait until that is seen."""
        os.kill(self.pid, signal.SIGKILL)
        until(lambda: self.server.failure() is not None)

    def break_it(self) -> None:
        """Make the server unable to start."""
        (self.folder / "data" / "PG_VERSION").rename(self.folder / "PG_VERSION")

    def mend_it(self) -> None:
        (self.folder / "PG_VERSION").rename(self.folder / "data" / "PG_VERSION")

    def check_until(self, condition: Callable[[], bool], *, step_seconds: float = 0.1) -> None:
        """Let the supervisor check, with time passing between checks, until the condition holds."""

        def holds() -> bool:
            self.keeper.check()
            self.now += step_seconds
            return condition()

        until(holds)

    async def query(self, statement: str) -> object:
        connection = await self.connect()
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(driver_address(self.server.url))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.005)


@pytest.fixture
def kept(ready_folder: Path) -> Iterator[Kept]:
    world = Kept(ready_folder)
    try:
        world.keeper.start()
        yield world
    finally:
        world.server.stop()


async def test_a_server_that_is_killed_is_back_at_the_same_address_with_its_data(kept: Kept) -> None:
    await kept.query("CREATE TABLE kept AS SELECT 42 AS answer")
    await kept.query("CHECKPOINT")
    address, killed = kept.server.url, kept.pid
    kept.kill()
    kept.check_until(kept.server.is_ready)
    assert kept.server.url == address
    assert kept.pid != killed
    assert await kept.query("SELECT answer FROM kept") == 42
    kept.check_until(lambda: "runs again after" in kept.said[-1])


def test_files_of_a_killed_server_are_not_taken_for_its_successors(kept: Kept) -> None:
    kept.kill()
    assert (kept.folder / "data" / "postmaster.pid").read_text().split("\n")[7].strip() == "ready"
    assert not kept.server.is_ready()
    kept.server.restart()
    until(kept.server.is_ready)


async def test_a_server_does_not_start_while_children_of_the_killed_one_are_at_work(kept: Kept) -> None:
    connection = await kept.connect()
    orphan = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
    working = connection.execute(BUSY)
    sent = working.send(None)  # the query is on its way; nobody waits for its end
    await kept.query("SELECT 1")
    kept.kill()
    kept.check_until(lambda: sum("it restarts in" in line for line in kept.said) >= 3)
    assert orphan.is_running()
    assert not kept.server.is_ready()
    orphan.kill()
    kept.check_until(kept.server.is_ready)
    working.close()
    sent.cancel()
    connection.terminate()


def test_a_server_that_always_dies_is_given_up_after_growing_pauses(kept: Kept) -> None:
    kept.break_it()
    kept.kill()
    with pytest.raises(PartFailed, match="too often in a row") as given_up:
        kept.check_until(lambda: False)
    assert "PG_VERSION" in given_up.value.log
    pauses = [float(line.rsplit(" in ", 1)[1].removesuffix(" s")) for line in kept.said if "it restarts in" in line]
    assert len(pauses) == MOST_DEATHS
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_a_server_that_dies_now_and_then_is_never_given_up(kept: Kept) -> None:
    for _ in range(3):
        kept.kill()
        kept.check_until(kept.server.is_ready)
        kept.now += SETTLED_SECONDS + 1.0
    told = [line for line in kept.said if "it restarts in" in line]
    assert ["in 0.1 s" in line for line in told] == [True] * 3


def test_a_full_disk_is_waited_out_however_long_it_takes(kept: Kept) -> None:
    kept.check_until(kept.reserve.is_laid)
    kept.room_bytes = LITTLE_ROOM_BYTES - 1
    kept.break_it()
    kept.kill()
    starts = kept.now
    kept.check_until(lambda: not kept.reserve.is_laid())
    kept.check_until(lambda: kept.now > starts + 2 * MOST_DEATHS * LONGEST_PAUSE_SECONDS, step_seconds=2.5)
    kept.mend_it()
    kept.check_until(kept.server.is_ready)
    assert not kept.reserve.is_laid()
    kept.room_bytes = 10 * AMPLE_ROOM_BYTES
    kept.check_until(kept.reserve.is_laid)
    news = (
        "disk reserve keeps",
        "it gets the",
        "restarts once there is room",
        "runs again after",
        "the disk has room again",
    )
    assert [words for line in kept.said for words in news if words in line] == [*news, news[0]]


def test_a_disk_that_fills_while_the_server_runs_is_reported_once(kept: Kept) -> None:
    kept.check_until(kept.reserve.is_laid)
    for room in (LITTLE_ROOM_BYTES - 1, LITTLE_ROOM_BYTES + 1, LITTLE_ROOM_BYTES - 1, 2 * AMPLE_ROOM_BYTES):
        kept.room_bytes = room
        for _ in range(3):  # checks of the disk
            kept.keeper.check()
            kept.now += LOOK_SECONDS
    assert ["full" in line for line in kept.said] == [False, True, False]
    assert kept.server.is_ready()
    assert kept.reserve.is_laid()


def test_a_start_that_fails_for_another_reason_keeps_the_disk_reserve(kept: Kept) -> None:
    kept.check_until(kept.reserve.is_laid)
    (kept.folder / "postgres.log").write_text("FATAL: No space left on device, a year ago\n")
    second = PostgresSupervisor(EmbeddedPostgres(kept.folder, durable=False), kept.reserve, kept.said.append)
    with pytest.raises(EmbeddedPostgresError, match="another process uses"):
        second.start()
    assert kept.reserve.is_laid()
