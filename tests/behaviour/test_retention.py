"""Data past its retention period is deleted, and nothing else is."""

import asyncio
from datetime import timedelta

import pytest

from service.errors import JobNotFound
from service.identifiers import JobId, new_job_id
from service.jobs import retention
from service.jobs.listing import list_events, list_jobs
from service.jobs.reporting.report import report
from service.jobs.retention import delete_expired
from service.lifecycle import RETAINED_EVENTS
from service.ports.store import Store
from service.records.access import LOCAL_CALLER, AuditAction, AuditEntry
from service.records.jobs import JobStatus
from service.records.webhooks import DeliveryStatus
from service.records.work import WorkStatus
from service.search.predictions.prompt_tree import Usage
from tests.support.aging import DAY, Aging, kept
from tests.support.hooks import DELIVERED, FAILED, GOOD, LATER, claim, log_of, made, record
from tests.support.stored import (
    claimed,
    event_types,
    events,
    finish,
    job,
    label_state,
    put_on_hold,
    queued,
    release,
    save,
    spend,
    write,
)


async def labelled(store: Store, saves: int = 3) -> JobId:
    """A job that has succeeded, with a log and labels."""
    job_id = await queued(store, gold=[b'"True"'])
    shard = await claimed(store)
    for number in range(saves):
        await write(store, shard, label_state(0, 1))
        await save(store, shard, b"%d" % number, labeled=1)
    await finish(store, shard)
    return job_id


async def key_used(store: Store, key: str, job_id: JobId) -> bool:
    """Claim the key for this job, and return whether it had been used before."""
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.idempotency.claim(key, "0" * 64, job_id) is not None


async def test_old_webhook_messages_are_deleted_unless_they_are_pending(aging: Aging) -> None:
    webhook = await made(aging.store, "job.created")
    for verdict in (DELIVERED, FAILED, LATER):
        await queued(aging.store)
        (due,) = await claim(aging.store)
        await record(aging.store, due, GOOD, verdict)
    await aging.let_pass(29 * DAY)
    assert "deliveries" not in await aging.delete_expired()
    await aging.let_pass(2 * DAY)
    assert (await aging.delete_expired())["deliveries"] == 2
    assert [delivery.status for delivery in await log_of(aging.store, webhook)] == [DeliveryStatus.PENDING]


async def test_an_idempotency_key_is_valid_for_its_retention_period(aging: Aging) -> None:
    job_id = await queued(aging.store)
    await key_used(aging.store, "old", job_id)
    await aging.let_pass(1.5 * DAY)
    await key_used(aging.store, "young", job_id)
    assert await aging.delete_expired() == {}
    await aging.let_pass(DAY)
    assert await aging.delete_expired() == {"idempotency_keys": 1}
    assert await key_used(aging.store, "young", job_id)
    assert not await key_used(aging.store, "old", new_job_id())


async def test_the_log_of_a_job_that_ended_long_ago_is_shortened_and_its_report_is_the_same(aging: Aging) -> None:
    job_id = await labelled(aging.store)
    told, whole = await report(aging.project_store, job_id), await events(aging.store, job_id)
    await aging.let_pass(31 * DAY)
    removed = await aging.delete_expired()
    left = await events(aging.store, job_id)
    assert removed == {"events": len(whole) - len(left)}
    assert [event.type for event in left] == ["job.created", "shard.finished", "job.succeeded"]
    assert [(event.sequence, event.data) for event in left] == [
        (event.sequence, event.data) for event in whole if event.type in RETAINED_EVENTS
    ]
    after = await report(aging.project_store, job_id)
    assert (after.search, after.verdict, after.reasons, after.cost) == (
        told.search,
        told.verdict,
        told.reasons,
        told.cost,
    )
    assert await aging.delete_expired() == {}


async def test_a_reader_whose_last_event_was_deleted_gets_the_later_ones(aging: Aging) -> None:
    job_id = await labelled(aging.store)
    await aging.let_pass(31 * DAY)
    await aging.delete_expired()
    _, page = await list_events(aging.project_store, job_id, after=3, limit=100)
    assert [event.type for event in page.items] == ["shard.finished", "job.succeeded"]


async def test_events_of_jobs_that_have_not_ended_stay_however_old_they_are(aging: Aging) -> None:
    running, paused = await queued(aging.store), await queued(aging.store)
    for _ in range(2):
        shard = await claimed(aging.store)
        await save(aging.store, shard)
        await release(aging.store, shard, delay_seconds=9.0)
    await put_on_hold(aging.store, paused)
    before = [await event_types(aging.store, job_id) for job_id in (running, paused)]
    await aging.let_pass(3000 * DAY)
    assert await aging.delete_expired(jobs=DAY) == {}
    assert [await event_types(aging.store, job_id) for job_id in (running, paused)] == before


async def test_an_event_after_a_deleted_one_gets_a_new_number(aging: Aging) -> None:
    job_id = await labelled(aging.store)
    await aging.let_pass(31 * DAY)
    await aging.delete_expired()
    last = (await events(aging.store, job_id))[-1].sequence
    async with aging.store.project_unit(LOCAL_CALLER) as unit:
        await unit.events.append(job_id, "note", {})
    assert (await events(aging.store, job_id))[-1].sequence == last + 1


async def test_jobs_stay_for_good_unless_the_operator_says_otherwise(aging: Aging) -> None:
    job_id = await labelled(aging.store)
    await aging.let_pass(3000 * DAY)
    await aging.delete_expired()
    assert (await job(aging.store, job_id)).status is JobStatus.SUCCEEDED
    async with aging.store.project_unit(LOCAL_CALLER) as unit:
        rows = [row async for row in unit.labels.result(job_id)]
    assert [row.state.label for row in rows] == [1, None]
    assert rows[0].gold == b'"True"'


async def test_the_idempotency_key_of_an_expired_job_is_free_before_the_job_is_erased(aging: Aging) -> None:
    await key_used(aging.store, "key", await labelled(aging.store))
    await aging.let_pass(8 * DAY)
    async with aging.store.maintenance_unit() as unit:
        assert (await unit.retire_jobs(7 * DAY, at_most=9)).removed == 1
    assert not await key_used(aging.store, "key", await queued(aging.store))


async def test_a_job_past_its_retention_period_is_deleted_with_all_its_data(aging: Aging) -> None:
    old = await labelled(aging.store)
    await key_used(aging.store, "key", old)
    await aging.let_pass(7.5 * DAY)
    young, open_one = await labelled(aging.store), await queued(aging.store)
    removed = await aging.delete_expired(jobs=7 * DAY, idempotency_keys=99 * DAY)
    assert removed["jobs"] == 1
    with pytest.raises(JobNotFound):
        await job(aging.store, old)
    assert {found.id for found in (await list_jobs(aging.project_store, limit=9, before=None, status=None)).items} == {
        young,
        open_one,
    }
    async with aging.store.project_unit(LOCAL_CALLER) as unit:
        assert (await unit.account.usage()).rows == 4
    assert not await key_used(aging.store, "key", young)
    async with aging.store.access_unit() as access:
        [entry] = await access.audit.latest(limit=9)
    assert (entry.action, entry.target, entry.project) == (AuditAction.JOB_EXPIRED, old, LOCAL_CALLER.project)
    assert (entry.key_id, entry.request_id) == (None, None)
    assert await aging.delete_expired(jobs=7 * DAY) == {}


async def test_retention_counts_from_a_jobs_end_however_it_ended(aging: Aging) -> None:
    for ending in (WorkStatus.CANCELLED, WorkStatus.FAILED):
        await queued(aging.store)
        await finish(aging.store, await claimed(aging.store), ending)
    await aging.let_pass(8 * DAY)
    assert (await aging.delete_expired(jobs=7 * DAY))["jobs"] == 2


async def test_old_audit_entries_and_daily_counts_are_deleted_and_new_ones_stay(aging: Aging) -> None:
    entry = AuditEntry.by(LOCAL_CALLER, AuditAction.JOB_CREATED, "job_1")
    await queued(aging.store)
    shard = await claimed(aging.store)
    for target in ("old", "young"):
        async with aging.store.project_unit(LOCAL_CALLER) as unit:
            await unit.audit.record(AuditEntry.by(LOCAL_CALLER, entry.action, target))
        await spend(aging.store, shard, Usage(tokens_computed=10 if target == "old" else 30))
        if target == "old":
            await aging.let_pass(3 * DAY)
    assert await aging.delete_expired(audit=2 * DAY, usage=2 * DAY) == {"audit_entries": 1, "usage": 1}
    async with aging.store.access_unit() as unit:
        assert [found.target for found in await unit.audit.latest(limit=9)] == ["young"]
    async with aging.store.project_unit(LOCAL_CALLER) as unit:
        assert (await unit.account.usage()).tokens_today == 20


async def test_todays_token_count_stays_however_short_the_retention(aging: Aging) -> None:
    await queued(aging.store)
    await spend(aging.store, await claimed(aging.store), Usage(tokens_computed=10))
    assert await aging.delete_expired(usage=timedelta()) == {}
    async with aging.store.project_unit(LOCAL_CALLER) as unit:
        assert (await unit.account.usage()).tokens_today == 10


async def test_data_without_a_retention_period_is_never_deleted(aging: Aging) -> None:
    job_id = await labelled(aging.store)
    before = await event_types(aging.store, job_id)
    async with aging.store.project_unit(LOCAL_CALLER) as unit:
        await unit.audit.record(AuditEntry.by(LOCAL_CALLER, AuditAction.JOB_CREATED, job_id))
    await aging.let_pass(3000 * DAY)
    assert await aging.delete_expired(events=None, audit=None, usage=None) == {}
    assert await event_types(aging.store, job_id) == before


async def test_a_run_deletes_a_bounded_number_of_rows_and_says_that_more_are_left(
    aging: Aging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK_ROWS", 2)
    monkeypatch.setattr(retention, "MAX_CHUNKS", 2)
    job_id = await queued(aging.store)
    for number in range(7):
        await key_used(aging.store, f"key {number}", job_id)
    await aging.let_pass(3 * DAY)
    turns = [await delete_expired(aging.store, kept()) for _ in range(3)]
    assert [(dict(turn.removed), turn.has_more) for turn in turns] == [
        ({"idempotency_keys": 4}, True),
        ({"idempotency_keys": 3}, False),
        ({}, False),
    ]


async def test_an_event_log_is_shortened_in_batches(aging: Aging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CHUNK_ROWS", 3)
    job_ids = [await labelled(aging.store, saves=4) for _ in range(3)]
    await aging.let_pass(31 * DAY)
    assert await aging.delete_expired() == {"events": 3 * (1 + 1 + 4)}
    for job_id in job_ids:
        assert await event_types(aging.store, job_id) == ["job.created", "shard.finished", "job.succeeded"]


async def test_several_maintainers_at_once_remove_everything_once(aging: Aging) -> None:
    job_ids = [await labelled(aging.store) for _ in range(4)]
    await aging.let_pass(31 * DAY)
    turns = await asyncio.gather(*(delete_expired(aging.store, kept()) for _ in range(4)))
    turns.append(await delete_expired(aging.store, kept()))
    assert sum(turn.removed.get("events", 0) for turn in turns) == 4 * (1 + 1 + 3)
    for job_id in job_ids:
        assert await event_types(aging.store, job_id) == ["job.created", "shard.finished", "job.succeeded"]
