"""A row that the backend always fails on is named and left out; a failing backend pauses or fails the job."""

import pytest

from service.errors import BackendError, BackendRefused, BackendUnavailable, FailureKind, LabelUnreachable
from service.identifiers import JobId
from service.records.access import LOCAL_CALLER
from service.records.jobs import JobStatus
from service.records.labels import LabeledRow, LabelState, LabelStatus
from service.records.scoring import BackendIdentity
from tests.golden.case import submitted
from tests.support.running.workplace import Workplace

FAULTS = [
    BackendRefused("failed 6 times while the server answered other calls; at last: /v1/completions answered 500: boom"),
    BackendUnavailable("no answer within 120 s", kind=FailureKind.TIMED_OUT),
    BackendUnavailable("the connection broke", kind=FailureKind.DISCONNECTED),
    BackendRefused("/v1/completions answered 422: the prompt was filtered"),
    LabelUnreachable("no log-probability for token 7: the language model considers it impossible"),
]


@pytest.fixture
async def workplace() -> Workplace:
    place = Workplace()
    place.backend.identity = BackendIdentity("deterministic")
    return place


async def ended(workplace: Workplace, rows: int, faulty: int, error: BackendError, **config: object) -> JobId:
    """The same job once no worker runs it any more."""
    job_id = await asked(workplace, rows, faulty, error, **config)
    while await workplace.worker.work_once():
        pass
    return job_id


async def asked(workplace: Workplace, rows: int, faulty: int, error: BackendError, **config: object) -> JobId:
    """A job about this many numbers; the backend fails on the last `faulty` ones."""
    config_of_job = {"task": {"template": "Is {n}. odd?", "labels": ["Yes", "No"], "id_field": "n"}, **config}
    job_id = await submitted(
        workplace.store, config_of_job, [{"n": str(number)} for number in range(1000, 1000 + rows)]
    )
    workplace.backend.faulty = {f"Is {number}. odd?": error for number in range(1000 + rows - faulty, 1000 + rows)}
    return job_id


async def found(workplace: Workplace, job_id: JobId) -> list[LabeledRow]:
    async with workplace.store.project_unit(LOCAL_CALLER) as unit:
        return [row async for row in unit.labels.result(job_id)]


def unlabeled(rows: list[LabeledRow]) -> list[LabelState]:
    return [row.state for row in rows if row.state.status is LabelStatus.UNLABELED]


@pytest.mark.parametrize("error", FAULTS, ids=str)
async def test_one_faulty_row_stays_unlabeled_and_the_job_succeeds_and_says_so(
    workplace: Workplace, error: BackendError
) -> None:
    job_id = await ended(workplace, 10, 1, error)
    job, rows = await workplace.job(job_id), await found(workplace, job_id)
    assert (job.status, job.progress.labeled) == (JobStatus.SUCCEEDED, 9)
    [left_out] = unlabeled(rows)
    assert (left_out.position, left_out.label, left_out.reason) == (9, None, str(error))
    assert "1 row is unlabeled" in job.warnings[-1]
    assert f"'1009' ({error}" in job.warnings[-1]
    assert all(row.state.label is not None and row.state.reason is None for row in rows[:9])


@pytest.mark.parametrize(
    ("method", "objective"),
    [("icm", "gain"), ("icm", "utility"), ("zero_shot", "gain"), ("few_shot_random", "gain"), ("bootstrap", "gain")],
)
async def test_every_method_leaves_a_faulty_row_out(workplace: Workplace, method: str, objective: str) -> None:
    job_id = await ended(workplace, 40, 1, FAULTS[0], method=method, search={"objective": objective})
    assert (await workplace.job(job_id)).status is JobStatus.SUCCEEDED
    assert [state.position for state in unlabeled(await found(workplace, job_id))] == [39]


async def test_the_last_row_of_a_later_shard_is_left_out_there(workplace: Workplace) -> None:
    job_id = await ended(workplace, 120, 1, FAULTS[0], search={"anchor_rows": 40, "shard_rows": 40})
    job = await workplace.job(job_id)
    assert (job.status, job.progress.labeled) == (JobStatus.SUCCEEDED, 119)
    assert len(unlabeled(await found(workplace, job_id))) == 1


@pytest.mark.parametrize("error", [FAULTS[0], FAULTS[4]], ids=str)
async def test_where_most_rows_fail_the_job_fails_in_the_servers_words(
    workplace: Workplace, error: BackendError
) -> None:
    job_id = await ended(workplace, 10, 6, error)
    job = await workplace.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error == {"code": type(error).__name__, "message": str(error)}


async def test_where_many_rows_time_out_the_job_waits(workplace: Workplace) -> None:
    job = await workplace.job(await ended(workplace, 10, 6, FAULTS[1]))
    assert job.status is JobStatus.PAUSED
    assert job.error is not None
    assert job.error["message"] == str(FAULTS[1])


@pytest.mark.parametrize("call", [3, 9])
async def test_a_worker_that_resumes_the_shard_leaves_the_same_rows_out(workplace: Workplace, call: int) -> None:
    job_id = await asked(workplace, 40, 1, FAULTS[0])
    workplace.backend.at_call[call] = workplace.worker.stop
    await workplace.worker.work_once()
    assert not (await workplace.job(job_id)).status.is_final
    again = workplace.another_worker("again")
    assert await again.work_once()
    assert (await workplace.job(job_id)).status is JobStatus.SUCCEEDED
    assert [state.position for state in unlabeled(await found(workplace, job_id))] == [39]


async def test_labels_with_a_faulty_row_are_those_of_the_data_set_without_it(workplace: Workplace) -> None:
    whole = await found(workplace, await ended(workplace, 21, 1, FAULTS[0]))
    other = Workplace()
    other.backend.identity = BackendIdentity("deterministic")
    without = await found(other, await ended(other, 20, 0, FAULTS[0]))
    assert [row.state for row in whole[:20]] == [row.state for row in without]


def death() -> BackendUnavailable:
    error = BackendUnavailable("the server ended", kind=FailureKind.DISCONNECTED)
    error.broke = error.died = True
    return error


async def test_a_row_that_crashes_the_server_each_time_is_left_out_after_a_dozen_crashes(workplace: Workplace) -> None:
    deaths = 0

    class Counted(BackendUnavailable):
        def __copy__(self) -> BackendUnavailable:
            nonlocal deaths
            deaths += 1
            return death()

    job_id = await ended(workplace, 40, 1, Counted("", kind=FailureKind.DISCONNECTED))
    assert (await workplace.job(job_id)).status is JobStatus.SUCCEEDED
    [left_out] = unlabeled(await found(workplace, job_id))
    assert (left_out.position, left_out.reason) == (39, str(death()))
    assert deaths <= 12


@pytest.mark.parametrize("call", [2, 8])
async def test_a_server_that_is_back_at_once_costs_no_row_its_label(workplace: Workplace, call: int) -> None:
    def die() -> None:
        workplace.backend.failure = death()

    def live() -> None:
        workplace.backend.failure = None

    workplace.backend.at_call = {call: die, call + 1: live}
    job_id = await ended(workplace, 40, 0, FAULTS[0])
    assert (await workplace.job(job_id)).status is JobStatus.SUCCEEDED
    assert unlabeled(await found(workplace, job_id)) == []


async def test_a_row_that_crashes_the_server_costs_concurrent_rows_nothing(workplace: Workplace) -> None:
    job_id = await ended(workplace, 40, 2, death(), search={"initial_rows": 8})
    assert [state.position for state in unlabeled(await found(workplace, job_id))] == [38, 39]
