"""The duty of removing what trainings of searches have left on this machine, those of cancelled jobs for example."""

import asyncio
from pathlib import Path

import structlog

from service.training_process.trained_scorer import forget_idle

logger = structlog.get_logger(__name__)

IDLE_SECONDS = 24 * 3600.0  # an interrupted job goes on sooner, and a cancelled one leaves rows for no longer
EVERY_SECONDS = 600.0


class TrainingFolders:
    """Looks after the folder that this process trains in, which other processes of this machine may share."""

    name = "training folders"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def turn(self) -> float:
        """Remove what is idle; the seconds until the next turn."""
        if removed := await asyncio.to_thread(forget_idle, self._folder, IDLE_SECONDS):
            logger.info("removed what trainings of searches had left", folders=removed)
        return EVERY_SECONDS
