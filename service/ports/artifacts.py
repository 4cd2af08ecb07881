"""The port to whatever keeps the files of trainings: a folder, or an object store."""

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Protocol

from service.identifiers import JobId
from service.records.adapters import TrainedAdapter
from service.records.trainings import Artifact, ArtifactFile


class Artifacts(Protocol):
    """Folders of files by their content, each in the name of the training that it belongs to.

    Every call raises ArtifactsUnavailable where the place cannot be reached, and ArtifactMissing where it has not got
    what is asked for.
    """

    async def put(self, owner: JobId, folder: Path) -> Artifact:
        """Store a folder's files. Repeated, the same. Until something names what it gave back, nobody finds it."""

    async def files(self, owner: JobId, sha256: str) -> list[ArtifactFile]:
        """The files of an artifact in the order of their names."""

    def read(self, owner: JobId, sha256: str, name: str) -> AsyncGenerator[bytes, None]:
        """The bytes of one file, in parts."""

    async def fetch(self, owner: JobId, sha256: str, folder: Path) -> None:
        """Write the files of an artifact into a folder that is not there yet, whole or not at all."""

    async def remove(self, owner: JobId, sha256: str | None = None) -> None:
        """Delete an artifact, or all of its owner's; what is not there is no error."""

    async def stored(self) -> Mapping[JobId, frozenset[str]]:
        """What is there, by owner, complete or not."""


class AdapterFiles(Protocol):
    """The folder from which inference servers read trained adapters."""

    @property
    def folder(self) -> Path:
        """The folder, as this service sees it."""

    async def place(self, adapter: TrainedAdapter) -> str:
        """Have an adapter's files there, whole and as they were trained; their folder, relative to that one.

        Raises ArtifactsUnavailable, and ArtifactMissing where the training's files are gone or have changed.
        """
