"""Decides how jobs and their work items change: the only rules about their states.

`decide`, `decide_job` and `settle` take states, an event and the time, and return the changes to make. They do no I/O
and read no clock. A store locks a job and its item, calls one of them, writes the changes and appends the log entries.

A store locks the item before the job. A transaction that has locked a job never waits for an item.
"""

from service.lifecycle.changes import Changes, Entry, Settling, Siblings
from service.lifecycle.decisions import decide, decide_job, settle
from service.lifecycle.log import RETAINED_EVENTS, created
from service.lifecycle.states import (
    OPEN_JOB,
    WAITING_WORK,
    IllegalTransition,
    JobState,
    WorkCounts,
    WorkState,
)

__all__ = [
    "OPEN_JOB",
    "RETAINED_EVENTS",
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
