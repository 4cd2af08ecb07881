"""Drives calls to one server: how many are under way, and what becomes of those that fail."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from service.scoring.retrying import until_answered

_Answer = TypeVar("_Answer")


class Driver:
    """Makes attempts at one server, at most `concurrency` at once, again while a failure may pass."""

    def __init__(self, *, concurrency: int, patience_seconds: float = 60.0) -> None:
        self.concurrency = concurrency  # calls that may be under way at once
        self._free_slots = asyncio.Semaphore(concurrency)
        self._patience_seconds = patience_seconds
        self._rng = Random()
        self.disconnections = 0  # connections that broke so far: the server may have become another one

    async def call(self, attempt: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """The answer of the first attempt that has one. Raises BackendError."""

        async def in_slot() -> _Answer:
            async with self._free_slots:
                return await attempt()

        return await until_answered(in_slot, self._rng)
