"""Sees to it that all of a job's scores come from the backend that the job began with."""

from dataclasses import dataclass

from service.errors import BackendChanged
from service.identifiers import BackendId
from service.ports.scoring import Scorer
from service.ports.store import Store
from service.records.jobs import ClaimedShard, KnownBackend
from service.records.scoring import BackendIdentity


@dataclass(frozen=True)
class SameBackend:
    """The backend that a job began with, held against what it is now."""

    scorer: Scorer
    known: KnownBackend

    @property
    def id(self) -> BackendId:
        """Names the backend among all that were ever seen."""
        return self.known.id

    async def check(self) -> None:
        """Raises BackendChanged where the backend is another one by now, and BackendUnavailable."""
        _compare(self.known.identity, await self.scorer.identify())


async def begin_with(store: Store, scorer: Scorer, claimed: ClaimedShard) -> SameBackend:
    """Check the backend before anything is asked; a paused job goes on, since it is there again.

    Raises BackendUnavailable, BackendChanged and LeaseLost.
    """
    measured = await scorer.identify()
    async with store.worker_unit() as unit:
        known = await unit.backends.of_job(claimed.lease, measured)
        _compare(known.identity, measured)
        if claimed.paused:
            await unit.work.resume(claimed.lease)
    return SameBackend(scorer, known)


def _compare(began: BackendIdentity, now: BackendIdentity) -> None:
    if not began.agrees_with(now):
        raise BackendChanged(f"the job began with {_described(began)}, but its backend is now {_described(now)}")


def _described(identity: BackendIdentity) -> str:
    if not identity.canary:
        return identity.fingerprint
    told = ", ".join(f"{value:.3f}" for value in identity.canary)
    return f"{identity.fingerprint} (log-probabilities after fixed prompts: {told})"
