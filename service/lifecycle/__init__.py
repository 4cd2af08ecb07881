"""The life of a job and of its shards: every rule of it is here, and nothing else.

`decide`, `decide_job` and `settle` take states, an event and the time, and return the changes to make. They do no I/O
and ask no clock. A store locks a job and its shard, asks here, writes the changes and appends the entries to the log.

Locks, wherever a store has any, are taken shard first, then job. Whoever holds a job never waits for a shard.
"""

from service.lifecycle.changes import Changes, Entry, Settling, Siblings
from service.lifecycle.decisions import decide, decide_job, settle
from service.lifecycle.log import LASTING_EVENTS, created
from service.lifecycle.states import (
    OPEN_JOB,
    WAITING_SHARD,
    IllegalTransition,
    JobState,
    ShardCounts,
    ShardState,
)

__all__ = [
    "LASTING_EVENTS",
    "OPEN_JOB",
    "WAITING_SHARD",
    "Changes",
    "Entry",
    "IllegalTransition",
    "JobState",
    "Settling",
    "ShardCounts",
    "ShardState",
    "Siblings",
    "created",
    "decide",
    "decide_job",
    "settle",
]
