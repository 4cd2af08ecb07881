"""The next state of a job and its shard for each event and job policy; `situations.summary` writes the cells."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any, get_args

import orjson
import pytest

from service.errors import JobFinished
from service.lifecycle import Changes, IllegalTransition, Settling, WorkCounts, decide, decide_job, settle
from service.lifecycle import events as e
from service.lifecycle.states import JOB, WORK, Standing
from service.lifecycle.table import NEVER, REACTIONS
from service.records.jobs import Backoff, JobStatus, PauseReason, Progress
from service.records.work import WorkStatus
from tests.unit.lifecycle.situations import (
    AWAY,
    HOUR,
    JOB_EVENTS,
    MAX_CRASHES,
    NO,
    NOW,
    WORK_EVENTS,
    job,
    shard,
    summary,
)

CANCEL = [
    "cancelled running stopping cancel idle count +shard.finished",
    "cancelled cancelled stopping cancel idle count +shard.finished",
    "cancelled failed cancel idle count +shard.finished",
]
# In the order of `Standing`: open, suspended, on hold, stopping, cancelled, ended.
WORK_OUTCOMES = {
    "Claimed": ["running running +shard.started", "running paused retry in 60 s", "queued paused", *CANCEL],
    "Renewed": [
        "running running",
        "running paused",
        "running paused interrupt",
        "running running stopping interrupt",
        "running cancelled stopping interrupt",
        "running failed interrupt",
    ],
    "Saved": [
        "running running reset crashes reset tries +job.progress",
        "running paused reset crashes +job.progress",
        "running paused reset crashes +job.progress",
        "running running stopping reset crashes +job.progress",
        "running cancelled stopping reset crashes +job.progress",
        "running failed reset crashes +job.progress",
    ],
    "Released": [
        "queued running wake +shard.released",
        "queued paused wake",
        "queued paused wake +shard.released",
        *CANCEL,
    ],
    "Crashed": [
        "queued running wake +shard.released",
        "queued paused wake +shard.released",
        "queued paused wake +shard.released",
        *CANCEL,
    ],
    "ResourceMissing": ["queued paused retry in 10 s +job.paused", "queued paused", "queued paused", *CANCEL],
    "RetryFailed": [
        "queued paused retry in 10 s +job.paused",
        "queued paused retry in 10 s",
        "queued paused",
        *CANCEL,
    ],
    "RetrySucceeded": [
        "running running +shard.started",
        "running running wake +job.resumed +shard.started",
        "running paused +shard.started",
        "running running stopping",
        "running cancelled stopping",
        "running failed",
    ],
    "Succeeded": [
        "succeeded running unblock count wake +shard.finished",
        "succeeded paused unblock count wake +shard.finished",
        "succeeded paused unblock count wake +shard.finished",
        "succeeded running stopping cancel idle count +shard.finished",
        "succeeded cancelled stopping cancel idle count +shard.finished",
        "succeeded failed cancel idle count +shard.finished",
    ],
    "Failed": [
        "failed running cancel idle count +shard.finished",
        "failed paused cancel idle count +shard.finished",
        "failed paused cancel idle count +shard.finished",
        "failed running stopping cancel idle count +shard.finished",
        "failed cancelled stopping cancel idle count +shard.finished",
        "failed failed cancel idle count +shard.finished",
    ],
    "Stopped": [
        "cancelled running stopping cancel idle count +shard.finished",
        "cancelled paused stopping cancel idle count +shard.finished",
        "cancelled paused stopping cancel idle count +shard.finished",
        *CANCEL,
    ],
}
JOB_OUTCOMES = {
    "PauseRequested": ["paused +job.paused", "paused +job.paused", "paused", *["JobFinished"] * 3],
    "ResumeRequested": ["running", "paused wake retry in 0 s", "running wake +job.resumed", *["JobFinished"] * 3],
    "CancelRequested": [
        "running stopping cancel idle count +job.cancel_requested",
        "paused stopping cancel idle count +job.cancel_requested",
        "paused stopping cancel idle count +job.cancel_requested",
        "running stopping cancel idle count",
        "cancelled stopping cancel idle count",
        "JobFinished",
    ],
    "DeleteRequested": [*["WrongState"] * 4, "cancelled stopping", "failed"],
}
CELLS = [(name, standing) for name in (*WORK_OUTCOMES, *JOB_OUTCOMES) for standing in Standing]


def outcome(work: Callable[[], Changes]) -> str:
    """The summary of the decision, or the name of the error."""
    try:
        return summary(work())
    except Exception as error:  # noqa: BLE001 - the table says which
        return type(error).__name__


def reaction(event: e.WorkEvent, standing: Standing = Standing.OPEN, **of_shard: Any) -> Changes:
    """To an event of the running anchor, or of the queued one where it is claimed."""
    status = WorkStatus.QUEUED if isinstance(event, e.Claimed) else WorkStatus.RUNNING
    return decide(job(standing), shard(**{"status": status, **of_shard}), event, now=NOW, max_crashes=MAX_CRASHES)


@pytest.mark.parametrize(("name", "standing"), CELLS, ids=[f"{name}, {standing.value}" for name, standing in CELLS])
def test_each_cell_of_the_table_changes_job_and_shard_as_listed(name: str, standing: Standing) -> None:
    column = list(Standing).index(standing)
    if name in WORK_OUTCOMES:
        assert outcome(lambda: reaction(WORK_EVENTS[name], standing)) == WORK_OUTCOMES[name][column]
    else:
        assert outcome(lambda: decide_job(job(standing), JOB_EVENTS[name], now=NOW)) == JOB_OUTCOMES[name][column]


def test_every_event_has_its_row_and_every_standing_its_column() -> None:
    assert set(REACTIONS) == set(get_args(e.Event))
    assert all(list(row) == list(Standing) for row in REACTIONS.values())
    assert {type(event) for event in (*WORK_EVENTS.values(), *JOB_EVENTS.values())} == set(
        get_args(e.WorkEvent | e.JobEvent)
    )


def test_only_claims_have_impossible_cells() -> None:
    never = {(event, standing) for event, row in REACTIONS.items() for standing, cell in row.items() if cell is NEVER}
    assert never == {
        (e.Claimed, Standing.ON_HOLD),  # which is too early
        (e.ClaimedTooEarly, Standing.OPEN),
        (e.ClaimedTooEarly, Standing.CANCELLED),
        (e.ClaimedTooEarly, Standing.ENDED),
    }


@pytest.mark.parametrize("status", [status for status in WorkStatus if status is not WorkStatus.RUNNING])
@pytest.mark.parametrize("name", [name for name in WORK_EVENTS if name != "Claimed"])
def test_nothing_happens_to_a_shard_that_nobody_holds(name: str, status: WorkStatus) -> None:
    with pytest.raises(IllegalTransition, match=f"shard that is {status}"):
        reaction(WORK_EVENTS[name], status=status)


@pytest.mark.parametrize("status", [status for status in WorkStatus if status is not WorkStatus.QUEUED])
def test_only_a_queued_shard_can_be_claimed_or_one_whose_lease_has_expired(status: WorkStatus) -> None:
    with pytest.raises(IllegalTransition, match=f"shard that is {status} cannot be claimed"):
        reaction(WORK_EVENTS["Claimed"], status=status)


@pytest.mark.parametrize("standing", Standing)
def test_every_standing_follows_from_the_status_and_from_who_paused(standing: Standing) -> None:
    assert job(standing).standing is standing
    assert job(standing, cancel_requested=True).standing is (
        standing if standing in {Standing.CANCELLED, Standing.ENDED} else Standing.STOPPING
    )


def test_a_claim_after_an_expired_lease_counts_a_crash_and_raises_the_epoch() -> None:
    expired: dict[str, Any] = {"status": WorkStatus.RUNNING, "lease_until": NOW - HOUR, "crashes": 0, "epoch": 4}
    claimed = reaction(WORK_EVENTS["Claimed"], **expired)
    assert claimed.is_claimed
    assert claimed.work_fields == {"epoch": 5, "crashes": 1, "lease_until": NOW + timedelta(seconds=60)}


@pytest.mark.parametrize("standing", [Standing.OPEN, Standing.SUSPENDED])
def test_a_claim_of_a_shard_that_crashed_too_often_fails_the_job(standing: Standing) -> None:
    expired: dict[str, Any] = {"status": WorkStatus.RUNNING, "lease_until": NOW - HOUR, "crashes": MAX_CRASHES - 1}
    given_up = reaction(WORK_EVENTS["Claimed"], standing, **expired)
    assert not given_up.is_claimed
    assert given_up.settling is not None
    assert given_up.settling.failed
    assert given_up.settling.error == {
        "code": "worker_crashed",
        "message": "shard 0 was given up after 3 workers ended on it without any progress in between",
    }


@pytest.mark.parametrize("standing", [Standing.OPEN, Standing.SUSPENDED, Standing.ON_HOLD])
def test_one_crash_too_many_fails_the_job_whatever_it_waits_for(standing: Standing) -> None:
    given_up = reaction(e.Crashed(), standing, crashes=MAX_CRASHES - 1)
    assert given_up.work is not None
    assert (given_up.work.status, given_up.settling and given_up.settling.failed) == (WorkStatus.FAILED, True)


def test_a_paused_job_that_is_being_cancelled_does_not_wait() -> None:
    stopping = job(Standing.ON_HOLD, cancel_requested=True)
    queued = shard(WorkStatus.QUEUED)
    claimed = decide(stopping, queued, WORK_EVENTS["Claimed"], now=NOW, max_crashes=MAX_CRASHES)
    assert summary(claimed) == "cancelled paused stopping cancel idle count +shard.finished"


def test_no_shard_of_a_suspended_job_is_claimed_before_its_wait_is_over() -> None:
    waiting = job(Standing.SUSPENDED, retry_at=NOW + HOUR)
    queued = shard(WorkStatus.QUEUED)
    claimed = decide(waiting, queued, WORK_EVENTS["Claimed"], now=NOW, max_crashes=MAX_CRASHES)
    assert (claimed.job_fields, claimed.work_fields, claimed.entries) == ({}, {}, ())


def test_the_first_claim_of_a_job_starts_it() -> None:
    queued = job(status=JobStatus.QUEUED, started_at=None)
    begun = decide(queued, shard(WorkStatus.QUEUED), WORK_EVENTS["Claimed"], now=NOW, max_crashes=MAX_CRASHES)
    assert summary(begun) == "running running +job.running +shard.started"
    assert begun.job.started_at == NOW


@pytest.mark.parametrize(("tries", "seconds"), [(0, 5), (1, 10), (2, 20), (3, 40), (4, 60), (50, 60)])
def test_each_failed_retry_makes_the_next_wait_longer_up_to_a_minute(tries: int, seconds: int) -> None:
    looked = decide(
        job(Standing.SUSPENDED, tries=tries), shard(), e.RetryFailed(**AWAY), now=NOW, max_crashes=MAX_CRASHES
    )
    assert looked.job.retry_at == NOW + timedelta(seconds=seconds)
    assert looked.job.tries == tries + 1


def test_a_server_that_names_a_time_is_not_called_before() -> None:
    assert reaction(e.ResourceMissing(**AWAY, at_least_seconds=300.0)).job.retry_at == NOW + timedelta(seconds=300)


def test_another_reason_for_the_same_pause_adds_an_event() -> None:
    spent = e.RetryFailed(reason=PauseReason.QUOTA_EXHAUSTED, message="spent", backoff=Backoff())
    assert [entry.type for entry in reaction(spent, Standing.SUSPENDED).entries] == ["job.paused"]


@pytest.mark.parametrize(("started_at", "status", "counted"), [(NOW - HOUR, "running", 3600.0), (None, "queued", 0.0)])
def test_a_resumed_job_is_where_it_was_and_its_pause_counts_from_its_beginning_on(
    started_at: object, status: str, counted: float
) -> None:
    resumed = decide_job(job(Standing.ON_HOLD, started_at=started_at), e.ResumeRequested(), now=NOW)
    assert resumed.entries[0].data == {"status": status, "paused_seconds": 3600.0}
    assert (resumed.job.status, resumed.job.paused_seconds, resumed.job.error) == (status, counted, None)
    assert (resumed.job.pause_reason, resumed.job.paused_at, resumed.job.retry_at) == (None, None, None)


def test_a_pause_on_a_pause_is_one_pause() -> None:
    held = decide_job(job(Standing.SUSPENDED), e.PauseRequested(), now=NOW)
    assert (held.job.paused_at, held.job.retry_at, held.job.pause_reason) == (NOW - HOUR, None, PauseReason.REQUESTED)


def test_a_shard_released_with_a_delay_wakes_no_worker() -> None:
    later = reaction(e.Released(delay_seconds=30.0))
    assert later.work is not None
    assert (later.wakes_workers, later.work.run_after) == (False, NOW + timedelta(seconds=30))


def test_a_later_shards_end_unblocks_nothing() -> None:
    assert reaction(e.Succeeded(), number=1).siblings is None


def test_refusals_say_whether_the_job_has_ended_or_is_about_to() -> None:
    with pytest.raises(JobFinished, match="job job_0 is being cancelled"):
        decide_job(job(Standing.STOPPING), e.PauseRequested(), now=NOW)
    with pytest.raises(JobFinished, match="job job_0 has already ended: failed"):
        decide_job(job(Standing.ENDED), e.CancelRequested(), now=NOW)


def test_webhooks_report_the_job_as_it_is_after_the_event() -> None:
    [paused] = decide_job(job(), e.PauseRequested(), now=NOW).entries
    body = orjson.loads(paused.message or b"")
    assert (body["type"], body["data"]["status"], body["data"]["error"]["code"]) == (
        "job.paused",
        "paused",
        "requested",
    )
    [progress] = reaction(WORK_EVENTS["Saved"]).entries
    assert progress.message is None


@pytest.mark.parametrize(
    ("standing", "counts", "failed", "status"),
    [
        (Standing.OPEN, WorkCounts(0, 0, 2, 2), False, "succeeded"),
        (Standing.OPEN, WorkCounts(1, 0, 1, 2), False, "running"),
        (Standing.OPEN, WorkCounts(0, 1, 1, 2), False, "running"),
        (Standing.OPEN, WorkCounts(0, 1, 0, 2), True, "failed"),
        (Standing.SUSPENDED, WorkCounts(0, 0, 2, 2), False, "succeeded"),
        (Standing.ON_HOLD, WorkCounts(1, 0, 1, 2), False, "paused"),
        (Standing.STOPPING, WorkCounts(0, 1, 1, 2), False, "running"),
        (Standing.STOPPING, WorkCounts(0, 0, 1, 2), False, "cancelled"),
        (Standing.STOPPING, WorkCounts(0, 0, 2, 2), False, "cancelled"),
        (Standing.STOPPING, WorkCounts(0, 1, 0, 2), True, "failed"),
        (Standing.CANCELLED, WorkCounts(0, 0, 2, 2), True, "cancelled"),
        (Standing.ENDED, WorkCounts(0, 0, 2, 2), False, "failed"),
    ],
)
def test_a_job_ends_as_its_shards_call_for(standing: Standing, counts: WorkCounts, failed: bool, status: str) -> None:
    before, settling = job(standing), Settling(failed=failed, error=NO if failed else None)
    after = settle(before, counts, settling, progress=asdict(Progress(rows=4, eta_seconds=9.0)), now=NOW)
    assert after.job.status == status
    if after.job.status is before.status:
        assert (after.job_fields, after.entries) == ({}, ())
        return
    [ended] = after.entries
    assert (ended.type, ended.data["progress"]["eta_seconds"]) == (f"job.{status}", 0.0)
    assert after.job == replace(
        before,
        status=after.job.status,
        finished_at=NOW,
        error=NO if failed else None,
        pause_reason=None,
        paused_at=None,
        retry_at=None,
        paused_seconds=before.pause_so_far(NOW),
    )


@pytest.mark.parametrize("status", WorkStatus)
def test_a_shard_ends_in_a_final_status_only(status: WorkStatus) -> None:
    if WORK[status]:
        with pytest.raises(IllegalTransition):
            e.ended(status)
    else:
        assert reaction(e.ended(status)).work_fields["status"] is status


def test_a_final_status_is_left_by_nothing() -> None:
    assert [status for status in JobStatus if not JOB[status]] == [status for status in JobStatus if status.is_final]
