"""Gives inference servers the files of trained adapters in a folder that they share with the service."""

import shutil
import uuid
from pathlib import Path

from anyio import to_thread

from service.artifacts.file_systems import content_sha256, sha256_of
from service.errors import ArtifactMissing, ArtifactsUnavailable
from service.ports.artifacts import Artifacts
from service.records.adapters import TrainedAdapter


class AdapterFolder:
    """A folder with one folder for each adapter, laid out as `FileSystemArtifacts` lays out artifacts.

    Where artifacts are in a local folder, that one serves: nothing is copied. Where they are in an object store, each
    adapter is copied at its first use.
    """

    def __init__(self, artifacts: Artifacts, folder: Path) -> None:
        self._artifacts = artifacts
        self.folder = folder.absolute()

    async def place(self, adapter: TrainedAdapter) -> str:
        """Have an adapter's files there; their folder, relative to this one.

        Raises ArtifactsUnavailable, and ArtifactMissing where the training's files are gone or have changed.
        """
        place = f"{adapter.training_id}/{adapter.sha256}"
        try:
            if not await to_thread.run_sync((self.folder / place).is_dir):
                await self._copy(adapter, self.folder / place)
            await to_thread.run_sync(_check, self.folder / place, adapter)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ArtifactsUnavailable(f"the folder of adapters cannot be used: {reason}") from error
        return place

    async def _copy(self, adapter: TrainedAdapter, target: Path) -> None:
        """Fetch the files beside their place, so that another process that does the same is no harm."""
        staged = target.with_name(f".{uuid.uuid4().hex}")
        await self._artifacts.fetch(adapter.training_id, adapter.sha256, staged)
        await to_thread.run_sync(_publish, staged, target)


def _publish(staged: Path, target: Path) -> None:
    """Rename a folder, or remove it if another process was faster."""
    try:
        staged.rename(target)
    except OSError:
        shutil.rmtree(staged)
        if not target.is_dir():
            raise


def _check(folder: Path, adapter: TrainedAdapter) -> None:
    """Raise ArtifactMissing if the content is not that of the adapter's hash, which is its name at servers."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if content_sha256({path.relative_to(folder).as_posix(): sha256_of(path) for path in files}) != adapter.sha256:
        raise ArtifactMissing("the files of this training are not as they were stored")
