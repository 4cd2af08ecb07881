"""The periodic task that removes files which no training needs: artifacts, and folders on this machine."""

import shutil
from functools import partial
from pathlib import Path

import structlog
from anyio import to_thread

from service.errors import ArtifactsUnavailable
from service.identifiers import JobId
from service.ports.artifacts import Artifacts
from service.ports.store import Store
from service.trainings.sweep import ArtifactSweep

logger = structlog.get_logger(__name__)

EVERY_SECONDS = 3_600.0


class ArtifactCleaning:
    """Runs the sweep every hour."""

    name = "artifacts"

    def __init__(self, store: Store, artifacts: Artifacts, folders: Path, copies: Artifacts | None = None) -> None:
        self._store = store
        self._sweeps = [ArtifactSweep(store, place) for place in (artifacts, copies) if place is not None]
        self._folders = folders

    async def run_once(self) -> float:
        """Sweep once; returns the seconds until the next run. Raises StorageUnavailable."""
        await self._clear_folders()
        try:
            removed = sum([await sweep.run_once() for sweep in self._sweeps])
        except ArtifactsUnavailable as error:
            logger.warning("the artifact store cannot be swept", reason=str(error))
            return EVERY_SECONDS
        if removed:
            logger.info("removed artifacts that no training refers to", artifacts=removed)
        return EVERY_SECONDS

    async def _clear_folders(self) -> None:
        """Remove the folders of trainings that have ended or were deleted; the others may resume there."""
        if not self._folders.is_dir():
            return
        found = {JobId(path.name): path for path in self._folders.iterdir()}
        async with self._store.maintenance_unit() as unit:
            named = await unit.named_artifacts(found.keys())
        for training_id, folder in found.items():
            if named.get(training_id, frozenset()) is not None:
                await to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))
