"""Runs coroutines with a simulated clock, which jumps to the next event whenever all tasks wait."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class _Skipping(selectors.DefaultSelector):
    skipped_seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """The ready events; if there are none, advance the clock by the time-out."""
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits for ever")
        if not ready and timeout is not None:
            self.skipped_seconds += max(timeout, 0.0)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped_seconds


def in_simulated_time(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine; asyncio's sleeps and time-outs take no time, and `now` shows the simulated time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


def now() -> float:
    """Simulated seconds since the start."""
    return asyncio.get_running_loop().time()
