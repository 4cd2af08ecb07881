from datetime import timedelta

import pytest
import structlog
from pydantic import ValidationError

from service.bootstrap import build_application
from service.identifiers import new_job_id
from service.jobs import retention as removal
from service.records.access import LOCAL_CALLER
from service.settings import RetentionSettings, Settings
from tests.support.stores import Clock, ScratchStore
from workers.__main__ import _periodic_tasks
from workers.maintenance import Maintenance, retention


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> ScratchStore:
    return ScratchStore(now=clock.now)


async def use_keys(store: ScratchStore, number: int) -> None:
    async with store.project_unit(LOCAL_CALLER) as unit:
        for _ in range(number):
            job_id = new_job_id()
            await unit.idempotency.claim(f"key of {job_id}", "0" * 64, job_id)


async def test_each_run_logs_the_number_of_rows_that_it_deleted(store: ScratchStore, clock: Clock) -> None:
    task = Maintenance(store, RetentionSettings(every_seconds=30.0))
    for _ in range(2):
        await use_keys(store, 3)
        clock.advance(49 * 3600)
        with structlog.testing.capture_logs() as logged:
            assert await task.run_once() == 30.0
            assert await task.run_once() == 30.0
        assert [line["idempotency_keys"] for line in logged] == [3]


async def test_the_next_run_starts_at_once_if_more_is_left(
    store: ScratchStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "CHUNK_ROWS", 1)
    monkeypatch.setattr(removal, "MAX_CHUNKS", 2)
    await use_keys(store, 3)
    clock.advance(49 * 3600)
    task = Maintenance(store, RetentionSettings(every_seconds=30.0))
    assert [await task.run_once() for _ in range(2)] == [0.0, 30.0]


def test_every_worker_process_may_be_the_maintainer(store: ScratchStore) -> None:
    application = build_application(Settings(), store=store)
    assert "maintenance" in [task.name for task in _periodic_tasks(application, ())]


def test_zero_days_keep_data_for_ever() -> None:
    kept = retention(RetentionSettings(events_days=0, jobs_days=0, usage_days=0, audit_days=0))
    assert (kept.events, kept.jobs, kept.usage, kept.audit) == (None, None, None, None)
    assert kept.idempotency_keys == timedelta(hours=48)


def test_an_idempotency_key_is_valid_for_at_least_a_day() -> None:
    with pytest.raises(ValidationError):
        RetentionSettings(idempotency_keys_hours=23)
