"""Puts the files of trained adapters into a folder that inference servers share with the service."""

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

    If artifacts are in a local folder, this is that folder, and nothing is copied. If they are in an object store, the
    first use of each adapter copies it.
    """

    def __init__(self, artifacts: Artifacts, folder: Path) -> None:
        self._artifacts = artifacts
        self.folder = folder.absolute()

    async def place(self, adapter: TrainedAdapter) -> str:
        """Copy an adapter's files into the folder unless they are there; return their path below it.

        Raises ArtifactsUnavailable, and ArtifactMissing if the training's files are gone or have changed.
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
        """Fetch the files into a folder of their own and rename it, so that several processes may do so at once."""
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
    """Raise ArtifactMissing if the content does not have the adapter's hash, which is its name at servers."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if content_sha256({path.relative_to(folder).as_posix(): sha256_of(path) for path in files}) != adapter.sha256:
        raise ArtifactMissing("the files of this training are not as they were stored")
