"""Carries out what `failures.py` decides: calls to an inference server, tried again while a failure may pass."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from service.errors import BackendUnavailable
from service.scoring.failures import decide

_Answer = TypeVar("_Answer")


async def until_answered(call: Callable[[], Awaitable[_Answer]], rng: Random) -> _Answer:
    """The call's answer, from the first attempt that has one. Raises BackendError: a refusal at once."""
    attempt = 1
    while True:
        try:
            return await call()
        except BackendUnavailable as error:
            retry = decide(error, attempt, rng)
            if retry is None:
                raise
        attempt += 1
        await asyncio.sleep(retry.after_seconds)
