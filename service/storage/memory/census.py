"""The twin's count of what is stored of all projects."""

from collections import Counter

from service.entities import JobStatus, ShardStatus
from service.ports.observers import Census
from service.storage.memory.state import ShardRecord, State


def take_census(state: State) -> Census:
    """Jobs by status, and the shards of those that have not ended."""
    live = [record for _, record in state.shards.items() if not state.job(record.job_id).status.is_final]
    jobs = Counter(job.status for _, job in state.jobs.items())
    shards = Counter(record.status for record in live)
    return Census(
        jobs={status: jobs[status] for status in JobStatus},
        shards={status: shards[status] for status in ShardStatus},
        oldest_queued_seconds=max((_seconds_queued(state, record) for record in live), default=0.0),
        crashes=sum(record.crashes for record in live),
    )


def _seconds_queued(state: State, record: ShardRecord) -> float:
    """Since the shard could be claimed; 0 where it cannot."""
    now = state.now()
    is_queued = record.status is ShardStatus.QUEUED and record.run_after <= now and state.may_be_tried(record.job_id)
    return (now - max(record.queued_at, record.run_after)).total_seconds() if is_queued else 0.0
