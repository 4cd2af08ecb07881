"""The outbox in Postgres: messages are written with jobs' changes, claimed and recorded."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from service.access.issuing import create_key
from service.errors import LeaseLost
from service.ports.store import Store
from service.records.access import LOCAL_CALLER, Scope
from service.records.jobs import JobStatus
from service.records.webhooks import DeliveryStatus, Verdict
from service.records.work import WorkStatus
from service.webhooks import schedule
from tests.long import LONG
from tests.support.hooks import (
    AT_ONCE,
    BAD,
    DELIVERED,
    FAILED,
    FISH,
    GOOD,
    LATER,
    body_of,
    changed,
    claim,
    log_of,
    made,
    record,
    resend,
    send,
    told,
)
from tests.support.stored import NO_TIME, added, cancel, claimed, finish, pause, queued, save

TIMES = 10 if LONG else 4  # endpoints that come and go while as many jobs are made


async def test_webhooks_report_every_change_of_a_job_in_order_except_progress(store: Store) -> None:
    webhook = await made(store)
    job_id = await queued(store)
    shard = await claimed(store)
    await save(store, shard)
    await pause(store, shard)
    await cancel(store, job_id)
    log = (await log_of(store, webhook))[::-1]
    types = [delivery.type for delivery in log]
    assert types == ["job.created", "job.running", "job.paused", "job.cancel_requested", "job.cancelled"]
    assert {delivery.status for delivery in log} == {DeliveryStatus.PENDING}
    bodies = {body["type"]: body["data"] for body in map(body_of, await claim(store))}
    assert [bodies[name]["status"] for name in types] == ["queued", "running", "paused", "paused", "cancelled"]
    assert {(data["job"], data["name"]) for data in bodies.values()} == {(job_id, "sums")}
    assert bodies["job.paused"]["error"] == {"code": "backend_unavailable", "message": "away"}
    assert "error" not in bodies["job.running"]


async def test_webhooks_report_the_end_of_a_job_with_its_error(store: Store) -> None:
    await made(store, "job.failed")
    job_id = await queued(store)
    shard = await claimed(store)
    async with store.worker_unit() as unit:
        error = {"code": "backend_refused", "message": "no"}
        assert await unit.work.finish(shard.lease, WorkStatus.FAILED, error=error) is JobStatus.FAILED
    [due] = await claim(store)
    assert body_of(due)["data"] | {"links": {}} == {
        "job": job_id,
        "name": "sums",
        "status": "failed",
        "error": error,
        "links": {},
    }


async def test_an_endpoint_gets_the_events_of_its_choice_and_none_of_other_projects(store: Store) -> None:
    await create_key(store, project=FISH.project, name="a", scopes=[Scope.READ])
    ends = [await made(store, "job.succeeded") for _ in range(2)]
    failures, foreign = await made(store, "job.failed"), await made(store, caller=FISH)
    disabled = await made(store)
    await changed(store, disabled, enabled=False)
    await queued(store)
    await finish(store, await claimed(store))
    assert [len(await log_of(store, webhook)) for webhook in (*ends, failures, disabled)] == [1, 1, 0, 0]
    assert await log_of(store, foreign, FISH) == []
    assert {due.lease.webhook_id for due in await claim(store)} == {webhook.id for webhook in ends}


async def test_a_change_that_is_rolled_back_is_not_reported(store: Store) -> None:
    webhook = await made(store)
    with suppress(ZeroDivisionError):
        async with store.project_unit(LOCAL_CALLER) as unit:
            await added(unit)
            raise ZeroDivisionError
    assert await log_of(store, webhook) == []


async def test_a_message_is_claimed_once_and_due_again_when_its_lease_has_expired(store: Store) -> None:
    webhook = await made(store)
    await send(store, webhook)
    [first] = await claim(store, lease_seconds=NO_TIME)
    [second] = await claim(store)
    assert await claim(store) == []
    assert (first.lease.delivery_id, first.body, first.url) == (second.lease.delivery_id, second.body, second.url)
    assert (first.tries, second.tries) == (1, 2)
    with pytest.raises(LeaseLost):
        await record(store, first, GOOD, DELIVERED)
    assert (await log_of(store, webhook))[0].attempts == ()
    await record(store, second, GOOD, DELIVERED)
    [delivery] = await log_of(store, webhook)
    assert (delivery.status, delivery.attempts, delivery.next_try_at) == (DeliveryStatus.DELIVERED, (GOOD,), None)
    assert delivery.finished_at is not None
    with pytest.raises(LeaseLost):
        await record(store, second, GOOD, DELIVERED)


async def test_concurrent_workers_claim_every_message_once(store: Store) -> None:
    webhook = await made(store)
    sent = {(await send(store, webhook)).id for _ in range(12)}
    taken = await asyncio.gather(*(claim(store, limit=3) for _ in range(8)))
    ids = [due.lease.delivery_id for found in taken for due in found]
    assert len(ids) == len(set(ids))
    assert set(ids) | {due.lease.delivery_id for due in await claim(store)} == sent


async def test_one_endpoint_does_not_take_the_place_of_others(store: Store) -> None:
    busy, other = await made(store), await made(store)
    for _ in range(5):
        await send(store, busy)
    await send(store, other)
    first = await claim(store, per_webhook=2)
    assert sorted(due.lease.webhook_id for due in first) == sorted([busy.id, busy.id, other.id])
    assert await claim(store, per_webhook=2) == []
    done = next(due for due in first if due.lease.webhook_id == busy.id)
    await record(store, done, GOOD, DELIVERED)
    assert [due.lease.webhook_id for due in await claim(store, per_webhook=2)] == [busy.id]


async def test_a_failed_attempt_is_recorded_and_the_next_one_waits(store: Store) -> None:
    webhook = await made(store)
    await send(store, webhook)
    [due] = await claim(store)
    await record(store, due, BAD, AT_ONCE)
    [again] = await claim(store)
    await record(store, again, BAD, LATER)
    assert await claim(store) == []
    [delivery] = await log_of(store, webhook)
    assert (delivery.status, delivery.tries, delivery.attempts) == (DeliveryStatus.PENDING, 2, (BAD, BAD))
    assert delivery.next_try_at is not None
    assert (await told(store, webhook)).failing_since is not None


async def test_a_success_resets_the_time_of_failing(store: Store) -> None:
    webhook = await made(store)
    await send(store, webhook)
    for attempt, verdict in ((BAD, AT_ONCE), (GOOD, DELIVERED)):
        [due] = await claim(store)
        await record(store, due, attempt, verdict)
    assert (await told(store, webhook)).failing_since is None


async def test_a_verdict_that_disables_an_endpoint_fails_its_pending_messages(store: Store) -> None:
    webhook, other = await made(store), await made(store)
    for target in (webhook, webhook, other):
        await send(store, target)
    first, second = [due for due in await claim(store) if due.lease.webhook_id == webhook.id]
    await record(store, first, BAD, Verdict(status=DeliveryStatus.FAILED, disable="gone: it is"))
    disabled = await told(store, webhook)
    assert (disabled.enabled, disabled.disabled_reason) == (False, "gone: it is")
    assert {delivery.status for delivery in await log_of(store, webhook)} == {DeliveryStatus.FAILED}
    with pytest.raises(LeaseLost):
        await record(store, second, GOOD, DELIVERED)
    assert (await log_of(store, other))[0].status is DeliveryStatus.PENDING
    await queued(store)
    assert len(await log_of(store, webhook)) == 2


async def test_a_message_is_resent_under_its_old_id_with_all_its_tries(store: Store) -> None:
    webhook = await made(store)
    sent = await send(store, webhook)
    [first] = await claim(store)
    await record(store, first, BAD, FAILED)
    again = await resend(store, webhook, sent)
    assert (again.id, again.status, again.tries, again.attempts) == (sent.id, DeliveryStatus.PENDING, 0, (BAD,))
    assert again.finished_at is None
    [second] = await claim(store)
    assert (second.lease.delivery_id, second.body, second.tries) == (sent.id, first.body, 1)
    await record(store, second, GOOD, DELIVERED)
    assert (await log_of(store, webhook))[0].attempts == (BAD, GOOD)


async def test_deleting_a_job_deletes_its_messages(store: Store) -> None:
    webhook = await made(store)
    job_id = await queued(store)
    await cancel(store, job_id)
    test = await send(store, webhook)
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.jobs.remove(job_id)
    assert [delivery.id for delivery in await log_of(store, webhook)] == [test.id]


async def test_deleting_an_endpoint_while_jobs_change_undoes_no_change(store: Store) -> None:
    async def make_and_remove() -> None:
        for _ in range(TIMES):
            webhook = await made(store)
            async with store.project_unit(LOCAL_CALLER) as unit:
                await unit.webhooks.remove(webhook.id)

    removing = asyncio.gather(*(make_and_remove() for _ in range(2)))
    ids = [await queued(store) for _ in range(TIMES)]
    await removing
    async with store.project_unit(LOCAL_CALLER) as unit:
        assert {job.id for job in await unit.jobs.page(limit=99, before=None, status=None)} == set(ids)


async def test_an_endpoint_that_nothing_reaches_for_days_is_disabled(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = await made(store)
    await send(store, webhook)
    [due] = await claim(store)
    await record(store, due, BAD, AT_ONCE)
    assert (await told(store, webhook)).enabled
    monkeypatch.setattr(schedule, "PATIENCE", timedelta())  # days pass
    [due] = await claim(store)
    await record(store, due, BAD, AT_ONCE)
    disabled = await told(store, webhook)
    assert not disabled.enabled
    assert "nothing has been delivered since" in (disabled.disabled_reason or "")
    assert (await log_of(store, webhook))[0].status is DeliveryStatus.FAILED
