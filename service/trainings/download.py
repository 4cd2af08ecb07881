"""Streams a trained adapter as a tar archive from the artifact store."""

import tarfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from service.errors import TrainingNotFinished
from service.identifiers import JobId
from service.ports.artifacts import Artifacts
from service.ports.store import ProjectStore
from service.records.access import AuditAction, AuditEntry
from service.records.trainings import ArtifactFile

_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class Download:
    """The files of a training's artifact."""

    training_id: JobId
    sha256: str
    files: Sequence[ArtifactFile]

    @property
    def bytes(self) -> int:
        """The length of the archive."""
        return sum(len(_header(file)) + _padded(file.bytes) for file in self.files) + 2 * _BLOCK


async def find_artifact(store: ProjectStore, artifacts: Artifacts, training_id: JobId) -> Download:
    """Find a training's artifact, and record the download in the audit log.

    Raises TrainingNotFound, TrainingNotFinished, ArtifactMissing and ArtifactsUnavailable.
    """
    async with store.project_unit() as unit:
        training = await unit.trainings.get(training_id)
    if training.artifact is None:
        raise TrainingNotFinished(f"the training is {training.status}; it has an adapter once it has succeeded")
    files = await artifacts.files(training_id, training.artifact.sha256)
    async with store.project_unit() as unit:
        await unit.audit.record(AuditEntry.by(store.caller, AuditAction.ADAPTER_DOWNLOADED, training_id))
    return Download(training_id, training.artifact.sha256, files)


async def tar_stream(artifacts: Artifacts, download: Download) -> AsyncGenerator[bytes, None]:
    """The archive in parts. Equal files give equal bytes, since headers hold no owner and no time."""
    for file in download.files:
        yield _header(file)
        async with aclosing(artifacts.read(download.training_id, download.sha256, file.name)) as parts:
            async for part in parts:
                yield part
        yield bytes(_padded(file.bytes) - file.bytes)
    yield bytes(2 * _BLOCK)


def _header(file: ArtifactFile) -> bytes:
    header = tarfile.TarInfo(file.name)
    header.size, header.mode = file.bytes, 0o644
    return header.tobuf(tarfile.PAX_FORMAT)


def _padded(length: int) -> int:
    """The length in whole blocks."""
    return -(-length // _BLOCK) * _BLOCK
