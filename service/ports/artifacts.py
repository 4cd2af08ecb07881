"""The artifact store, which keeps the files of trainings in a folder or an object store, as a Protocol."""

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Protocol

from service.identifiers import JobId
from service.records.adapters import TrainedAdapter
from service.records.trainings import Artifact, ArtifactFile


class Artifacts(Protocol):
    """Folders of files, named by their content hash and owned by a training.

    Every call raises ArtifactsUnavailable if the store is unreachable, and ArtifactMissing if it lacks the artifact.
    """

    async def put(self, owner: JobId, folder: Path) -> Artifact:
        """Store a folder's files; a repeated call returns the same artifact. The caller stores its name."""

    async def files(self, owner: JobId, sha256: str) -> list[ArtifactFile]:
        """The files of an artifact, sorted by name."""

    def read(self, owner: JobId, sha256: str, name: str) -> AsyncGenerator[bytes, None]:
        """The bytes of one file, in parts."""

    async def fetch(self, owner: JobId, sha256: str, folder: Path) -> None:
        """Write the files of an artifact into a new folder, all of them or none."""

    async def remove(self, owner: JobId, sha256: str | None = None) -> None:
        """Delete an artifact, or all artifacts of its owner; missing ones are no error."""

    async def stored(self) -> Mapping[JobId, frozenset[str]]:
        """The stored artifacts by owner, incomplete ones among them."""


class AdapterFiles(Protocol):
    """The folder from which inference servers read trained adapters."""

    @property
    def folder(self) -> Path:
        """The folder, as this service sees it."""

    async def place(self, adapter: TrainedAdapter) -> str:
        """Put an adapter's files there, unchanged since the training; return their folder, relative to that one.

        Raises ArtifactsUnavailable, and ArtifactMissing if the training's files are gone or have changed.
        """
