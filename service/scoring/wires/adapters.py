"""Prepares a trained adapter for one inference server: shares its files, and compares its base with the server's."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

from service.errors import AdapterRefused, ArtifactMissing, ArtifactsUnavailable, BackendUnavailable
from service.ports.artifacts import AdapterFiles
from service.records.adapters import TrainedAdapter
from service.scoring.wires.wire import Wire


@dataclass(frozen=True, slots=True)
class LoadableAdapter:
    """A trained adapter, its files, and the path of the folder of adapters at the server (None: the service's path)."""

    trained: TrainedAdapter
    files: AdapterFiles
    folder_at_server: str | None = None

    @property
    def name(self) -> str:
        """The name at the server: the hash of the content, since servers have mixed caches of names used again."""
        return self.trained.sha256

    async def relative_path(self) -> str:
        """Put the files into the shared folder; return their path there. Raises AdapterRefused, BackendUnavailable."""
        try:
            return await self.files.place(self.trained)
        except ArtifactMissing as error:
            raise self.refused(f"{error}; train it again") from error
        except ArtifactsUnavailable as error:
            raise BackendUnavailable(f"the adapter of {self.trained.training_id} cannot be read: {error}") from error

    async def path(self) -> str:
        """Put the files into the shared folder; return their absolute path at the server. Raises as `relative_path`."""
        return str(PurePosixPath(self.folder_at_server or str(self.files.folder), await self.relative_path()))

    def refused(self, why: str) -> AdapterRefused:
        """The error for a server that cannot serve the adapter."""
        return AdapterRefused(f"the training {self.trained.training_id} cannot be served: {why}")

    def check_fingerprint(self, served: str | None, name: str | None) -> None:
        """Compare the base with a server's fingerprint or revision, `served`. Raises AdapterRefused if they differ."""
        trained = self.trained
        known = {each for each in (trained.fingerprint, trained.revision) if each and len(each) == len(served or "")}
        if known and served not in known:
            raise self._of_another_base(f"{name or 'another language model'} ({served})")

    def check_names(self, served: Iterable[str | None]) -> None:
        """Compare the base with the names of a server that has no fingerprint. Raises AdapterRefused.

        Folders in front of a name do not count. A server that names no language model passes.
        """
        names = [name for name in served if name]
        trained = self.trained
        known = {_last_part(each) for each in (trained.base, trained.fingerprint, trained.revision) if each}
        if names and known and known.isdisjoint(map(_last_part, names)):
            raise self._of_another_base(" alias ".join(dict.fromkeys(names)))

    def _of_another_base(self, served: str) -> AdapterRefused:
        return self.refused(
            f"it was trained on {self.trained.base_in_words}, and the backend {self.trained.backend!r} now serves "
            f"{served}; serve the language model that it was trained on, under that name, or train again"
        )


@runtime_checkable
class AdapterWire(Protocol):
    """A wire whose server loads adapters while it runs."""

    def adapted(self, adapter: LoadableAdapter) -> Wire:
        """The wire to the same server with this adapter, over the same connections.

        It loads the adapter whenever the server lacks it: at the first call, after a restart, and after the server has
        removed it for another one. Its calls raise AdapterRefused if the server refuses the adapter.
        """


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].casefold()
