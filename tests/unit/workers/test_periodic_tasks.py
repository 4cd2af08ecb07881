import asyncio
from collections.abc import Callable

import pytest

from service.errors import StorageUnavailable
from workers import periodic_tasks
from workers.periodic_tasks import run_forever


class CountedTask:
    """A periodic task that counts its runs and may fail in some of them."""

    def __init__(self, name: str, fails: Callable[[int], Exception | None] = lambda _: None) -> None:
        self.name = name
        self.runs = 0
        self.done = asyncio.Event()
        self._fails = fails

    async def run_once(self) -> float:
        self.runs += 1
        if self.runs == 3:
            self.done.set()
        if error := self._fails(self.runs):
            raise error
        return 0.0


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic_tasks, "RETRY_SECONDS", 0.0)


async def run_three_times_each(*all_of_them: CountedTask) -> None:
    task = asyncio.create_task(run_forever(all_of_them))
    async with asyncio.timeout(30):
        for counted in all_of_them:
            await counted.done.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_every_task_runs_again_and_again_until_the_process_ends() -> None:
    await run_three_times_each(CountedTask("first"), CountedTask("second"))


@pytest.mark.parametrize("error", [StorageUnavailable("gone"), RuntimeError("a bug")], ids=["database", "bug"])
async def test_a_task_that_fails_runs_again_and_stops_no_other(error: Exception) -> None:
    await run_three_times_each(CountedTask("unlucky", lambda _: error), CountedTask("healthy"))
