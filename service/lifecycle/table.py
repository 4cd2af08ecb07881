"""The table of reactions: how each event changes a job and its work item, by the job's standing.

One row for each kind of event, one column for each `Standing`. A cell lists moves in their order; an empty one changes
nothing. `NEVER` marks events that no store can report: `decide` raises IllegalTransition.
"""

from collections.abc import Callable, Mapping

from service.lifecycle import events as e
from service.lifecycle.moves import (
    Draft,
    cancel_idle,
    cancel_work,
    count_items,
    fail,
    interrupt,
    lease,
    log_cancel_request,
    log_progress,
    log_released,
    log_started,
    pause,
    postpone,
    refuse,
    refuse_open,
    renew,
    request_cancel,
    requeue,
    reset_crashes,
    reset_tries,
    resume,
    retry_now,
    set_aside,
    start_job,
    succeed,
    suspend,
    unblock,
)
from service.lifecycle.states import Standing

Move = Callable[[Draft], None]
Cell = tuple[Move, ...] | None

NEVER: Cell = None
START: Cell = (lease, start_job, log_started)
TRY: Cell = (lease, postpone)
FAIL: Cell = (fail, cancel_idle, count_items)  # the job fails with its item
CANCEL: Cell = (cancel_work, cancel_idle, count_items)  # the job is cancelled with its last leased item
RENEW: Cell = (renew,)
INTERRUPT: Cell = (renew, interrupt)
SAVE: Cell = (reset_crashes, log_progress)
RECOVER: Cell = (reset_crashes, reset_tries, log_progress)
RELEASE: Cell = (requeue, log_released)
REQUEUE: Cell = (requeue,)  # the worker was only trying to resume the job, so it never started the item
ASIDE: Cell = (set_aside,)
SUSPEND: Cell = (set_aside, suspend)
STARTED: Cell = (log_started,)
RESUME: Cell = (resume, log_started)
SUCCEED: Cell = (succeed, unblock, count_items)
END: Cell = (succeed, cancel_idle, count_items)
ABANDON: Cell = (cancel_work, request_cancel, cancel_idle, count_items)
STOP: Cell = (request_cancel, log_cancel_request, cancel_idle, count_items)
RECOUNT: Cell = (cancel_idle, count_items)
PAUSE: Cell = (pause,)
RETRY: Cell = (retry_now,)
UNPAUSE: Cell = (resume,)
REFUSE: Cell = (refuse,)
NOT_YET: Cell = (refuse_open,)

# fmt: off
_ROWS: tuple[tuple[type[e.Event], Cell, Cell, Cell, Cell, Cell, Cell], ...] = (
    # event            OPEN       SUSPENDED  ON_HOLD    STOPPING   CANCELLED  ENDED
    (e.Claimed,         START,     TRY,       NEVER,     CANCEL,    CANCEL,    CANCEL),
    (e.ClaimedTooEarly, NEVER,     (),        (),        CANCEL,    NEVER,     NEVER),
    (e.CrashedTooOften, FAIL,      FAIL,      FAIL,      CANCEL,    CANCEL,    CANCEL),
    (e.Renewed,         RENEW,     RENEW,     INTERRUPT, INTERRUPT, INTERRUPT, INTERRUPT),
    (e.Saved,           RECOVER,   SAVE,      SAVE,      SAVE,      SAVE,      SAVE),
    (e.Released,        RELEASE,   REQUEUE,   RELEASE,   CANCEL,    CANCEL,    CANCEL),
    (e.Crashed,         RELEASE,   RELEASE,   RELEASE,   CANCEL,    CANCEL,    CANCEL),
    (e.ResourceMissing, SUSPEND,   ASIDE,     ASIDE,     CANCEL,    CANCEL,    CANCEL),
    (e.RetryFailed,     SUSPEND,   SUSPEND,   ASIDE,     CANCEL,    CANCEL,    CANCEL),
    (e.RetrySucceeded,  STARTED,   RESUME,    STARTED,   (),        (),        ()),
    (e.Succeeded,       SUCCEED,   SUCCEED,   SUCCEED,   END,       END,       END),
    (e.Failed,          FAIL,      FAIL,      FAIL,      FAIL,      FAIL,      FAIL),
    (e.Stopped,         ABANDON,   ABANDON,   ABANDON,   CANCEL,    CANCEL,    CANCEL),
    (e.PauseRequested,  PAUSE,     PAUSE,     (),        REFUSE,    REFUSE,    REFUSE),
    (e.ResumeRequested, (),        RETRY,     UNPAUSE,   REFUSE,    REFUSE,    REFUSE),
    (e.CancelRequested, STOP,      STOP,      STOP,      RECOUNT,   RECOUNT,   REFUSE),
    (e.DeleteRequested, NOT_YET,   NOT_YET,   NOT_YET,   NOT_YET,   (),        ()),
)
# fmt: on

REACTIONS: Mapping[type[e.Event], Mapping[Standing, Cell]] = {
    event: dict(zip(Standing, cells, strict=True)) for event, *cells in _ROWS
}
