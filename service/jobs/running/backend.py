"""Checks that all scores of a job come from the backend that the job began with."""

from dataclasses import dataclass

from service.errors import BackendChanged
from service.ports.scoring import Scorer
from service.ports.store import Store
from service.records.jobs import ClaimedShard, KnownBackend
from service.records.scoring import BackendIdentity


@dataclass(frozen=True)
class PinnedBackend:
    """The backend that a job began with, to compare with its present identity."""

    scorer: Scorer
    known: KnownBackend

    async def check(self) -> None:
        """Measure the backend's identity again. Raises BackendChanged if it differs, and BackendUnavailable."""
        _compare(self.known.identity, await self.scorer.identify())


async def check_backend(store: Store, scorer: Scorer, claimed: ClaimedShard) -> PinnedBackend:
    """Check the backend before the first prompt, and resume a paused job, since its backend answers again.

    Raises BackendUnavailable, BackendChanged and LeaseLost.
    """
    measured = await scorer.identify()
    async with store.worker_unit() as unit:
        known = await unit.backends.of_job(claimed.lease, measured)
        _compare(known.identity, measured)
        if claimed.paused:
            await unit.work.resume(claimed.lease)
    return PinnedBackend(scorer, known)


def _compare(began: BackendIdentity, now: BackendIdentity) -> None:
    if not began.agrees_with(now):
        raise BackendChanged(f"the job began with {_described(began)}, but its backend is now {_described(now)}")


def _described(identity: BackendIdentity) -> str:
    if not identity.canary:
        return identity.fingerprint
    canary = ", ".join(f"{value:.3f}" for value in identity.canary)
    return f"{identity.fingerprint} (log-probabilities after fixed prompts: {canary})"
