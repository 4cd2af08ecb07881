"""Waiting, and calling what blocks, once for each client: `scripts/write_client.py` swaps the names."""

import time
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")


async def async_sleep(seconds: float) -> None:
    """Let other tasks run for this time."""
    await anyio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Block this thread for this time."""
    time.sleep(seconds)


async def async_run(function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    """The function's value, computed in a thread so that other tasks run meanwhile."""
    return await anyio.to_thread.run_sync(function, *arguments)


def run(function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    """The function's value, computed here."""
    return function(*arguments)
