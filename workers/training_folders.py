"""The periodic task that removes abandoned folders of searches' trainings from this machine."""

import asyncio
from pathlib import Path

import structlog

from service.training_process.trained_scorer import remove_idle

logger = structlog.get_logger(__name__)

IDLE_SECONDS = 24 * 3600.0  # an interrupted job resumes sooner, and rows of a cancelled job must not stay longer
EVERY_SECONDS = 600.0


class TrainingFolders:
    """Cleans the folder in which this process trains; other processes of this machine may share it."""

    name = "training folders"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def run_once(self) -> float:
        """Remove idle folders; returns the seconds until the next run."""
        if removed := await asyncio.to_thread(remove_idle, self._folder, IDLE_SECONDS):
            logger.info("removed abandoned folders of searches' trainings", folders=removed)
        return EVERY_SECONDS
