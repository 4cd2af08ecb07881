"""The table of reactions: what a job and its work item do about an event, by what the job allows at the moment.

One row for each kind of event, one column for each `Standing`. A cell lists moves in their order; an empty one means
that nothing is to be done. `NEVER` marks pairs that no store can report: `decide` raises IllegalTransition.
"""

from collections.abc import Callable, Mapping

from service.lifecycle import events as e
from service.lifecycle.moves import (
    Draft,
    begin,
    cancel_idle,
    count,
    drop,
    fail,
    forgive,
    hold,
    interrupt,
    lease,
    note_progress,
    note_released,
    note_started,
    note_stop,
    postpone,
    recover,
    refuse,
    refuse_open,
    renew,
    requeue,
    resume,
    retry_now,
    set_aside,
    stop,
    succeed,
    suspend,
    unblock,
)
from service.lifecycle.states import Standing

Move = Callable[[Draft], None]
Cell = tuple[Move, ...] | None

NEVER: Cell = None
START: Cell = (lease, begin, note_started)
TRY: Cell = (lease, postpone)
GIVE_UP: Cell = (fail, cancel_idle, count)  # the job fails with its item
CANCEL: Cell = (drop, cancel_idle, count)  # the job is cancelled with its last leased item
KEEP: Cell = (renew,)
INTERRUPT: Cell = (renew, interrupt)
SAVE: Cell = (forgive, note_progress)
RECOVER: Cell = (forgive, recover, note_progress)
RETURN: Cell = (requeue, note_released)
UNTRIED: Cell = (requeue,)  # a worker who only tried has not begun
ASIDE: Cell = (set_aside,)
SUSPEND: Cell = (set_aside, suspend)
GO_ON: Cell = (note_started,)
RESUME: Cell = (resume, note_started)
SUCCEED: Cell = (succeed, unblock, count)
END: Cell = (succeed, cancel_idle, count)
ABANDON: Cell = (drop, stop, cancel_idle, count)
HALT: Cell = (stop, note_stop, cancel_idle, count)
AGAIN: Cell = (cancel_idle, count)
HOLD: Cell = (hold,)
RETRY: Cell = (retry_now,)
LET_GO: Cell = (resume,)
REFUSE: Cell = (refuse,)
NOT_YET: Cell = (refuse_open,)

# fmt: off
_ROWS: tuple[tuple[type[e.Event], Cell, Cell, Cell, Cell, Cell, Cell], ...] = (
    # event             OPEN     SUSPENDED ON_HOLD    STOPPING   CANCELLED  ENDED
    (e.Claimed,         START,   TRY,      NEVER,     CANCEL,    CANCEL,    CANCEL),
    (e.ClaimedTooEarly, NEVER,   (),       (),        CANCEL,    NEVER,     NEVER),
    (e.CrashedTooOften, GIVE_UP, GIVE_UP,  GIVE_UP,   CANCEL,    CANCEL,    CANCEL),
    (e.Renewed,         KEEP,    KEEP,     INTERRUPT, INTERRUPT, INTERRUPT, INTERRUPT),
    (e.Saved,           RECOVER, SAVE,     SAVE,      SAVE,      SAVE,      SAVE),
    (e.GivenBack,       RETURN,  UNTRIED,  RETURN,    CANCEL,    CANCEL,    CANCEL),
    (e.Crashed,         RETURN,  RETURN,   RETURN,    CANCEL,    CANCEL,    CANCEL),
    (e.Lacked,          SUSPEND, ASIDE,    ASIDE,     CANCEL,    CANCEL,    CANCEL),
    (e.LookedInVain,    SUSPEND, SUSPEND,  ASIDE,     CANCEL,    CANCEL,    CANCEL),
    (e.Found,           GO_ON,   RESUME,   GO_ON,     (),        (),        ()),
    (e.Succeeded,       SUCCEED, SUCCEED,  SUCCEED,   END,       END,       END),
    (e.Failed,          GIVE_UP, GIVE_UP,  GIVE_UP,   GIVE_UP,   GIVE_UP,   GIVE_UP),
    (e.Stopped,         ABANDON, ABANDON,  ABANDON,   CANCEL,    CANCEL,    CANCEL),
    (e.PauseAsked,      HOLD,    HOLD,     (),        REFUSE,    REFUSE,    REFUSE),
    (e.ResumeAsked,     (),      RETRY,    LET_GO,    REFUSE,    REFUSE,    REFUSE),
    (e.CancelAsked,     HALT,    HALT,     HALT,      AGAIN,     AGAIN,     REFUSE),
    (e.DeleteAsked,     NOT_YET, NOT_YET,  NOT_YET,   NOT_YET,   (),        ()),
)
# fmt: on

REACTIONS: Mapping[type[e.Event], Mapping[Standing, Cell]] = {
    event: dict(zip(Standing, cells, strict=True)) for event, *cells in _ROWS
}
