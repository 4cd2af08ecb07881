"""Claims shards for tests, as a worker that labels does."""

from service.identifiers import WorkerId
from service.ports.store import WorkerUnit
from service.records.jobs import ClaimedShard
from service.records.work import WorkKind


async def claim_shard(unit: WorkerUnit, worker: WorkerId, lease_seconds: float) -> ClaimedShard | None:
    """Lease a shard; None if none is claimable."""
    work = await unit.work.claim((WorkKind.LABEL,), worker, lease_seconds)
    return None if work is None else await unit.shards.of(work)
