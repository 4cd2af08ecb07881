"""This release continues on a database that an earlier one left in the middle of its work."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from migrations.commands import check, upgrade
from service.access.authentication import authenticate
from service.access.caller_store import CallerStore
from service.access.issuing import latest_entries, limit_project, list_projects
from service.bootstrap import build_application
from service.errors import LeaseLost
from service.identifiers import JobId, WebhookId, WorkerId
from service.jobs.control import resume
from service.records.access import LOCAL_CALLER, AuditAction, Scope
from service.records.jobs import Job, JobStatus
from service.records.webhooks import Answer, DeliveryStatus
from service.scoring.kinds import backend_of
from service.settings import Settings, WebhookSettings
from service.storage.store import PostgresStore
from tests.golden.case import WORKER, result_lines
from tests.golden.dump import Dump, restored, taken
from tests.golden.installation import DATABASES, QUOTAS, Installation, set_up
from tests.golden.make_database import main
from tests.golden.test_jobs_of_earlier_releases import rounded
from tests.support.aging import aging_postgres
from tests.support.claiming import claim_shard
from tests.support.stored import events
from workers.dispatch import WebhookDispatch
from workers.worker import Worker

FOLDERS = sorted(path for path in DATABASES.iterdir() if path.is_dir())
OUT_OF_SERVICE = timedelta(hours=1)  # between the release's end and the next one's beginning; all leases have run out


@dataclass
class Heir:
    """A service of this release on the database."""

    store: PostgresStore
    left: Installation

    @property
    def project_store(self) -> CallerStore:
        """The store as the API uses it for its caller."""
        return CallerStore(self.store, LOCAL_CALLER)

    def job_id(self, name: str) -> JobId:
        """The id of the job in this state."""
        return JobId(self.left.jobs[name])

    async def job(self, name: str) -> Job:
        """The job that was left in this state."""
        async with self.store.project_unit(LOCAL_CALLER) as unit:
            return await unit.jobs.get(self.job_id(name))

    async def result(self, name: str) -> list[list[tuple[str, Any]]]:
        """Its result, rounded to digits in which mathematical libraries agree."""
        return comparable(await result_lines(self.store, self.job_id(name)))

    async def work(self) -> None:
        """Let a worker run until there is nothing to do."""
        settings = Settings(backends=(backend_of(kind="deterministic"),))
        worker = Worker(build_application(settings, store=self.store), WorkerId("heir"))
        while await worker.work_once():
            pass


@dataclass
class Receiver:
    """Takes every message."""

    messages: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        self.messages.append((body, headers))
        return Answer(status=204)


@pytest.fixture(params=FOLDERS, ids=[folder.name for folder in FOLDERS])
def folder(request: pytest.FixtureRequest) -> Path:
    """The dump that a release has left."""
    found: Path = request.param
    return found


@pytest.fixture
async def heir(folder: Path, empty_database_url: str, anyio_backend: str) -> AsyncIterator[Heir]:
    """A service of this release, on the database of that one."""
    dump = Dump.read(folder / "rows.jsonl")
    await restored(dump, empty_database_url)
    await upgrade(empty_database_url)
    store = PostgresStore(empty_database_url)
    taken_ago = datetime.now(UTC) - dump.moment
    await aging_postgres(store, empty_database_url).let_pass(OUT_OF_SERVICE - taken_ago)
    yield Heir(store, Installation.read(folder / "expected.json"))
    await store.close()


def comparable(lines: list[str]) -> list[list[tuple[str, Any]]]:
    return [rounded(orjson.loads(line)) for line in lines]


def test_there_is_a_database_of_every_release_and_none_is_large() -> None:
    assert {folder.name for folder in FOLDERS} >= {"v0.1"}
    sizes = {folder.name: sum(file.stat().st_size for file in folder.iterdir()) for folder in FOLDERS}
    assert {name for name, size in sizes.items() if size > 200_000} == set()


async def test_jobs_end_as_under_that_release_and_a_paused_one_once_it_is_resumed(heir: Heir) -> None:
    left = {name: (await heir.job(name)).status for name in heir.left.jobs}
    assert left == {
        "finished": JobStatus.SUCCEEDED,
        "half-run": JobStatus.RUNNING,
        "paused": JobStatus.PAUSED,
        "queued": JobStatus.QUEUED,
    }
    before = len(await events(heir.store, heir.job_id("half-run")))
    await heir.work()
    assert (await heir.job("paused")).status is JobStatus.PAUSED
    later = await events(heir.store, heir.job_id("half-run"), after=before)
    begun = [event.data["shard"] for event in later if event.type == "shard.started"]
    assert begun == [2, 3, 4]  # and no shard that succeeded under that release
    await resume(heir.project_store, heir.job_id("paused"))
    await heir.work()
    for name in heir.left.jobs:
        assert (await heir.job(name)).status is JobStatus.SUCCEEDED
        assert await heir.result(name) == comparable(heir.left.results[name])


async def test_a_worker_of_that_release_loses_its_lease_to_the_next_claim(heir: Heir) -> None:
    job_id = heir.job_id("half-run")
    async with heir.store.worker_unit() as unit:
        taken_over = await claim_shard(unit, WorkerId("heir"), 60.0)
    assert taken_over is not None
    assert (taken_over.lease.job_id, taken_over.checkpoint is None) == (job_id, False)
    former = replace(taken_over.lease, epoch=taken_over.lease.epoch - 1, worker_id=WORKER)
    with pytest.raises(LeaseLost):
        async with heir.store.worker_unit() as unit:
            await unit.work.renew(former, 60.0)


async def test_an_api_key_of_that_release_is_still_valid(heir: Heir) -> None:
    caller = await authenticate(heir.store, heir.left.key)
    assert (caller.project, caller.scopes) == (LOCAL_CALLER.project, frozenset({Scope.ADMIN}))
    assert [(project.name, dict(project.quotas)) for project in await list_projects(heir.store)] == [
        (LOCAL_CALLER.project, QUOTAS)
    ]


async def test_the_audit_log_continues_after_the_entries_of_that_release(heir: Heir) -> None:
    before = await latest_entries(heir.store, limit=100)
    assert {entry.action for entry in before} >= {AuditAction.KEY_CREATED, AuditAction.JOB_PAUSED}
    await limit_project(heir.store, LOCAL_CALLER.project, {"rows": None})
    newest, *rest = await latest_entries(heir.store, limit=100)
    assert (newest.action, rest) == (AuditAction.PROJECT_LIMITED, before)


async def test_a_pending_message_of_that_release_is_sent_once_and_verifies(heir: Heir) -> None:
    receiver, webhook_id = Receiver(), WebhookId(heir.left.webhook)
    await WebhookDispatch(heir.store, receiver, WebhookSettings()).run_once()
    async with heir.store.project_unit(LOCAL_CALLER) as unit:
        webhook = await unit.webhooks.get(webhook_id)
        log = await unit.webhooks.deliveries(webhook_id, limit=10, before=None)
    [(body, headers)] = receiver.messages
    told = Verifier(webhook.secret).verify(body, headers)
    assert (told["type"], told["data"]["job"]) == ("job.paused", heir.job_id("paused"))
    assert [(sent.type, sent.status) for sent in log] == [
        ("job.paused", DeliveryStatus.DELIVERED),
        ("job.succeeded", DeliveryStatus.DELIVERED),
    ]


async def test_a_database_dumped_by_this_release_is_restored_unchanged(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    store = PostgresStore(database_url)
    await set_up(store)
    await store.close()
    dump = await taken(database_url)
    dump.write(tmp_path / "rows.jsonl")
    await restored(Dump.read(tmp_path / "rows.jsonl"), empty_database_url)
    assert (await taken(empty_database_url)).tables == dump.tables
    assert all(dump.tables.values())  # or a table would be tried in vain
    await check(empty_database_url)


def test_a_releases_database_is_never_overwritten(folder: Path) -> None:
    with pytest.raises(FileExistsError):
        main(folder.name)
