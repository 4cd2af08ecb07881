"""Removes artifacts that no training refers to, such as files that a crash left behind."""

from collections.abc import Mapping

from service.identifiers import JobId
from service.ports.artifacts import Artifacts
from service.ports.store import Store

Unnamed = frozenset[tuple[JobId, str]]


class ArtifactSweep:
    """Removes an artifact that two runs in a row found without a reference.

    A new training stores its files before its row; the time between two runs lets it store the row. The sweep spares
    files of a training that has not ended, since a worker may be about to refer to them.
    """

    def __init__(self, store: Store, artifacts: Artifacts) -> None:
        self._store = store
        self._artifacts = artifacts
        self._seen: Unnamed = frozenset()

    async def run_once(self) -> int:
        """Run once; returns how many artifacts it removed. Raises ArtifactsUnavailable and StorageUnavailable."""
        stored = await self._artifacts.stored()
        async with self._store.maintenance_unit() as unit:
            named = await unit.named_artifacts(stored.keys())
        unnamed = _unnamed(stored, named)
        removable = unnamed & self._seen
        for owner, sha256 in sorted(removable):
            await self._artifacts.remove(owner, sha256)
        self._seen = unnamed - removable
        return len(removable)


def _unnamed(stored: Mapping[JobId, frozenset[str]], named: Mapping[JobId, frozenset[str] | None]) -> Unnamed:
    return frozenset(
        (owner, sha256)
        for owner, hashes in stored.items()
        if (wanted := named.get(owner, frozenset())) is not None
        for sha256 in hashes - wanted
    )
