"""Shards as workers that label get them, in one unit of work."""

from service.identifiers import WorkerId
from service.ports.store import WorkerUnit
from service.records.jobs import ClaimedShard
from service.records.work import WorkKind


async def claim_shard(unit: WorkerUnit, worker: WorkerId, lease_seconds: float) -> ClaimedShard | None:
    """Lease a shard; None where there is none to claim."""
    work = await unit.work.claim((WorkKind.LABEL,), worker, lease_seconds)
    return None if work is None else await unit.shards.of(work)
