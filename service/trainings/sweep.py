"""Removes files that no training names any more, wherever an end half-way has left them."""

from collections.abc import Mapping

from service.identifiers import JobId
from service.ports.artifacts import Artifacts
from service.ports.store import Store

Unnamed = frozenset[tuple[JobId, str]]


class ArtifactSweep:
    """Looks every now and then; what it finds unnamed twice in a row is removed.

    So a training whose files are stored already, and whose row is not yet, has the time between two looks. Files of a
    training that has not ended are left alone: a worker may be about to name them.
    """

    def __init__(self, store: Store, artifacts: Artifacts) -> None:
        self._store = store
        self._artifacts = artifacts
        self._seen: Unnamed = frozenset()

    async def turn(self) -> int:
        """Look once; how many artifacts were removed. Raises ArtifactsUnavailable and StorageUnavailable."""
        stored = await self._artifacts.stored()
        async with self._store.upkeep() as unit:
            named = await unit.named_artifacts(stored.keys())
        unnamed = _unnamed(stored, named)
        gone = unnamed & self._seen
        for owner, sha256 in sorted(gone):
            await self._artifacts.remove(owner, sha256)
        self._seen = unnamed - gone
        return len(gone)


def _unnamed(stored: Mapping[JobId, frozenset[str]], named: Mapping[JobId, frozenset[str] | None]) -> Unnamed:
    return frozenset(
        (owner, sha256)
        for owner, hashes in stored.items()
        if (wanted := named.get(owner, frozenset())) is not None
        for sha256 in hashes - wanted
    )
