"""The port to a process that trains."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from service.records.trainings import TrainingEvent, TrainingOutcome

OnEvent = Callable[[TrainingEvent], Awaitable[None]]


class Trainer(Protocol):
    """One training, which resumes where an earlier run of it ended."""

    async def run(self, on_event: OnEvent, stop: asyncio.Event) -> TrainingOutcome:
        """Train until the end, or until `stop` is set; awaits `on_event` for every event, whose error ends it."""
