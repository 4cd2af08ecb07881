"""The life of a job of any kind and of its work items: every rule of it is here, and nothing else.

`decide`, `decide_job` and `settle` take states, an event and the time, and return the changes to make. They do no I/O
and ask no clock. A store locks a job and its item, asks here, writes the changes and appends the entries to the log.

Locks, wherever a store has any, are taken item first, then job. Whoever holds a job never waits for an item.
"""

from service.lifecycle.changes import Changes, Entry, Settling, Siblings
from service.lifecycle.decisions import decide, decide_job, settle
from service.lifecycle.log import LASTING_EVENTS, created
from service.lifecycle.states import (
    OPEN_JOB,
    WAITING_WORK,
    IllegalTransition,
    JobState,
    WorkCounts,
    WorkState,
)

__all__ = [
    "LASTING_EVENTS",
    "OPEN_JOB",
    "WAITING_WORK",
    "Changes",
    "Entry",
    "IllegalTransition",
    "JobState",
    "Settling",
    "Siblings",
    "WorkCounts",
    "WorkState",
    "created",
    "decide",
    "decide_job",
    "settle",
]
