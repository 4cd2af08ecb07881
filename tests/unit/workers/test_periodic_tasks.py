import asyncio
from collections.abc import Callable

import pytest

from service.errors import StorageUnavailable
from workers import periodic_tasks
from workers.periodic_tasks import run_forever


class Counted:
    """A duty that counts its turns and may fail at some of them."""

    def __init__(self, name: str, fails: Callable[[int], Exception | None] = lambda _: None) -> None:
        self.name = name
        self.turns = 0
        self.done = asyncio.Event()
        self._fails = fails

    async def run_once(self) -> float:
        self.turns += 1
        if self.turns == 3:
            self.done.set()
        if error := self._fails(self.turns):
            raise error
        return 0.0


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic_tasks, "RETRY_SECONDS", 0.0)


async def attended(*all_of_them: Counted) -> None:
    task = asyncio.create_task(run_forever(all_of_them))
    async with asyncio.timeout(30):
        for counted in all_of_them:
            await counted.done.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_every_task_runs_again_and_again_until_the_process_ends() -> None:
    await attended(Counted("first"), Counted("second"))


@pytest.mark.parametrize("error", [StorageUnavailable("gone"), RuntimeError("a bug")], ids=["database", "bug"])
async def test_a_task_that_fails_runs_again_and_stops_no_other(error: Exception) -> None:
    await attended(Counted("unlucky", lambda _: error), Counted("healthy"))
