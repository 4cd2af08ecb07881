"""A running job stops when its project has used its daily tokens, and resumes by itself the next day."""

from datetime import datetime, time, timedelta

import pytest

from service.access.issuing import create_key, limit_project
from service.bootstrap import Application
from service.identifiers import DEFAULT_PROJECT, JobId, ProjectName, WorkerId
from service.jobs.running.allowance import NOTICE_SECONDS
from service.records.access import LOCAL_CALLER, Caller, Scope
from service.records.jobs import JobStatus
from service.records.labels import LabeledRow
from service.settings import QuotaSettings
from tests.support.running.workplace import Workshop
from tests.support.stored import added, event_types, events, let_go_on, queued
from workers.worker import Worker

ROWS = 24
QUOTA = 100  # tokens a day; the job needs a few times as many
DAY_SECONDS = 24 * 3600.0


@pytest.fixture
async def workplace() -> Workshop:
    """A workplace whose clock shows noon, so that midnight comes only when a test advances it."""
    place = Workshop()
    now = place.clock.now()
    place.clock.ahead = datetime.combine(now.date() + timedelta(days=1), time(12), now.tzinfo) - now
    return place


@pytest.fixture
async def limited(workplace: Workshop) -> Workshop:
    """A workplace whose project has a small daily quota of computed tokens."""
    await limit(workplace, QUOTA)
    return workplace


async def test_a_job_waits_if_the_project_has_no_tokens_left_today_and_says_so(limited: Workshop) -> None:
    job_id = await exhausted(limited)
    paused = await limited.job(job_id)
    assert paused.error is not None
    assert (paused.status, paused.error["code"]) == (JobStatus.PAUSED, "quota_exhausted")
    spent = f"the project has had {paused.progress.tokens_computed} of {QUOTA} tokens computed today (UTC)"
    assert paused.error["message"] == (
        f"{spent}; the job goes on by itself at midnight, or within 10 minutes once the quota is raised"
    )
    assert (await event_types(limited.store, job_id))[-2:] == ["job.progress", "job.paused"]
    *before, last = await tokens_when_saved(limited, job_id)
    assert last >= QUOTA > max(before), "the job exceeds the quota by one step at most"


async def test_a_job_spread_over_days_ends_with_the_labels_of_one_run(limited: Workshop) -> None:
    job_id, days = await exhausted(limited), 1
    while not (await limited.job(job_id)).status.is_final:
        limited.clock.advance(DAY_SECONDS)
        await work(limited)
        days += 1
    assert (await limited.job(job_id)).status is JobStatus.SUCCEEDED
    assert days > 2
    undisturbed = Workshop()
    other_id = await queued(undisturbed.store, ROWS)
    await work(undisturbed)
    assert await labels(limited, job_id) == await labels(undisturbed, other_id)


async def test_a_waiting_job_is_not_claimed_and_sends_no_prompt(limited: Workshop) -> None:
    job_id = await exhausted(limited)
    log, calls = await event_types(limited.store, job_id), limited.backend.calls
    assert await limited.worker.work_once() is False
    for _ in range(3):
        limited.clock.advance(NOTICE_SECONDS)
        assert await limited.worker.work_once() is True  # it looks
        assert await limited.worker.work_once() is False
    assert await event_types(limited.store, job_id) == log
    assert limited.backend.calls == calls


async def test_a_waiting_job_is_retried_when_the_new_day_begins_and_not_before(limited: Workshop) -> None:
    limited.clock.advance(DAY_SECONDS / 2 - NOTICE_SECONDS / 2)  # five minutes to midnight
    job_id = await exhausted(limited)
    told = (await events(limited.store, job_id))[-1].data["retry_at"]
    next_day = limited.clock.now().date() + timedelta(days=1)
    late = datetime.fromisoformat(told) - datetime.combine(next_day, time(), limited.clock.now().tzinfo)
    assert timedelta() <= late < timedelta(minutes=1)


async def test_a_quota_that_is_raised_is_noticed_within_minutes(limited: Workshop) -> None:
    job_id = await exhausted(limited)
    await limit(limited, None)
    await work(limited)
    assert (await limited.job(job_id)).status is JobStatus.PAUSED
    limited.clock.advance(NOTICE_SECONDS)
    await work(limited)
    assert (await limited.job(job_id)).status is JobStatus.SUCCEEDED


async def test_a_waiting_job_resumed_by_a_person_is_retried_at_once(limited: Workshop) -> None:
    job_id = await exhausted(limited)
    await let_go_on(limited.store, job_id)
    await work(limited)
    assert (await limited.job(job_id)).status is JobStatus.PAUSED
    await limit(limited, 0)
    await let_go_on(limited.store, job_id)
    await work(limited)
    assert (await limited.job(job_id)).status is JobStatus.SUCCEEDED


async def test_other_jobs_of_the_project_wait_as_well_and_those_of_other_projects_go_on(
    limited: Workshop,
) -> None:
    await exhausted(limited)
    fish = Caller(project=ProjectName("fish"))
    await create_key(limited.store, project=fish.project, name="a", scopes=[Scope.READ])
    async with limited.store.project_unit(fish) as unit:
        other_id = await added(unit, ROWS)
    own_id = await queued(limited.store, ROWS // 2)  # with fewer demonstrations its prompts are others
    await work(limited)
    assert (await limited.job(own_id)).status is JobStatus.PAUSED
    async with limited.store.project_unit(fish) as unit:
        assert (await unit.jobs.get(other_id)).status is JobStatus.SUCCEEDED


async def test_answers_from_memory_cost_nothing_and_need_no_quota(workplace: Workshop) -> None:
    await queued(workplace.store, ROWS)
    await work(workplace)
    await limit(workplace, 1)
    again = await queued(workplace.store, ROWS)
    calls = workplace.backend.calls
    await work(workplace)
    assert ((await workplace.job(again)).status, workplace.backend.calls) == (JobStatus.SUCCEEDED, calls)


async def test_the_operators_quota_holds_where_the_project_has_none_of_its_own(workplace: Workshop) -> None:
    wired = workplace.application
    settings = wired.settings.model_copy(update={"quota": QuotaSettings(tokens_per_day=QUOTA)})
    worker = Worker(Application(settings, workplace.store, wired.scorers), WorkerId("worker"))
    job_id = await queued(workplace.store, ROWS)
    await worker.work_once()
    assert (await workplace.job(job_id)).status is JobStatus.PAUSED
    await limit(workplace, 0)
    workplace.clock.advance(NOTICE_SECONDS)
    await worker.work_once()
    assert (await workplace.job(job_id)).status is JobStatus.SUCCEEDED


async def limit(workplace: Workshop, tokens: int | None) -> None:
    await limit_project(workplace.store, DEFAULT_PROJECT, {"tokens_per_day": tokens})


async def exhausted(workplace: Workshop) -> JobId:
    """A job that has had all tokens of the day computed."""
    job_id = await queued(workplace.store, ROWS)
    await work(workplace)
    assert (await workplace.job(job_id)).status is JobStatus.PAUSED
    return job_id


async def tokens_when_saved(workplace: Workshop, job_id: JobId) -> list[int]:
    """The tokens that the job had computed at each save: here, after nearly every step."""
    log = await events(workplace.store, job_id)
    return list(dict.fromkeys(event.data["tokens_computed"] for event in log if event.type == "job.progress"))


async def work(workplace: Workshop) -> None:
    while await workplace.worker.work_once():
        pass


async def labels(workplace: Workshop, job_id: JobId) -> list[LabeledRow]:
    async with workplace.store.project_unit(LOCAL_CALLER) as unit:
        return [row async for row in unit.labels.result(job_id)]
