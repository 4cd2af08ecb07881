"""A job that is restored from a backup taken halfway continues and ends as it would have (docs/operations.md)."""

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from icm.local_stack.embedded_postgres import EmbeddedPostgres, reachable_root
from icm.local_stack.postgres_binaries import postgres_programs
from migrations.commands import upgrade
from service.bootstrap import Application
from service.errors import LeaseLost
from service.identifiers import JobId, WorkerId
from service.records.jobs import JobStatus
from service.records.labels import LabeledRow
from service.records.scoring import BackendIdentity
from service.scoring.registry import ConfiguredScorers
from service.settings import QueueSettings
from service.storage.engine import driver_address
from tests.support.databases import execute
from tests.support.running.processes import laboratory, until
from tests.support.running.workplace import Backend
from workers.worker import Worker

EVERY_STEP = QueueSettings(checkpoint_seconds=0.0)
# The backup is older than any lease in it.
EXPIRE_LEASES = "UPDATE work_items SET lease_until = now() WHERE status = 'running'"
IN_THE_ANCHOR, BEHIND_IT = 40, 60  # the call of the backend at which the first worker hangs
ROWS = [{"text": f"claim {number}", "question": number // 2} for number in range(96)]
CONFIG: dict[str, Any] = {
    "task": {"template": "{text}", "relations": [{"kind": "exactly_one", "group": "question"}]},
    "search": {"objective": "utility", "anchor_rows": 32, "shard_rows": 12, "initial_rows": 8, "restarts": 2},
}


@dataclass(frozen=True)
class HalfDone:
    """A job whose worker hangs in the middle of a step, and the result it is to have."""

    job_id: JobId
    expected: list[LabeledRow]


@pytest.mark.parametrize(
    "call",
    [pytest.param(IN_THE_ANCHOR, id="in the anchor", marks=pytest.mark.long), pytest.param(BEHIND_IT, id="behind it")],
)
async def test_a_dump_taken_while_a_job_runs_brings_it_back_to_its_end(
    database_url: str, empty_database_url: str, tmp_path: Path, call: int
) -> None:
    dump = tmp_path / "icm.dump"
    programs = postgres_programs(None, Path())  # as new as any server that we support
    async with half_done_job(database_url, call) as job:
        await run(programs / "pg_dump", "--format=custom", f"--file={dump}", driver_address(database_url))
    await run(programs / "pg_restore", "--no-owner", f"--dbname={driver_address(empty_database_url)}", str(dump))
    await upgrade(empty_database_url)
    assert await ended(empty_database_url, job.job_id) == job.expected


async def test_a_copy_of_the_stopped_embedded_database_brings_a_job_back_to_its_end(
    folder: Path, ready_folder: Path
) -> None:
    original, copy = ready_folder, folder / "backup"
    with EmbeddedPostgres(original) as postgres:
        await upgrade(postgres.url)
        async with half_done_job(postgres.url, IN_THE_ANCHOR) as job:
            pass
    await run(Path("cp"), "--archive", str(original), str(copy))
    shutil.rmtree(original)
    with EmbeddedPostgres(copy) as restored:
        assert await ended(restored.url, job.job_id) == job.expected


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that the user Postgres runs as can enter."""
    root = reachable_root(Path(tempfile.gettempdir()) / f"icm-backup-{uuid.uuid4().hex[:12]}")
    root.mkdir(parents=True)
    yield root
    shutil.rmtree(root)


@asynccontextmanager
async def half_done_job(database_url: str, call: int) -> AsyncIterator[HalfDone]:
    """The job, while a worker holds a shard of it and waits for its backend; then the worker is gone."""
    async with laboratory(database_url) as lab:
        expected = await lab.undisturbed(ROWS, CONFIG)
        job_id = await lab.submit(ROWS, CONFIG)
        backend = Backend()
        backend.identity = BackendIdentity("deterministic")
        backend.at_call[call] = backend.answering.clear
        worker = Worker(on(lab.application, backend), WorkerId("before"))
        working = asyncio.create_task(worker.run())

        async def hangs() -> bool:
            return not backend.answering.is_set()

        await until(hangs)
        job = await lab.job(job_id)
        assert job.status is JobStatus.RUNNING
        assert 0 < job.progress.labeled < len(ROWS)
        yield HalfDone(job_id, expected)
        worker.stop()
        backend.failure = LeaseLost("the worker is gone")  # nothing of the step at hand is stored any more
        backend.answering.set()
        await working


async def ended(database_url: str, job_id: JobId) -> list[LabeledRow]:
    """The result, once a worker with only the restored database has finished the job."""
    await execute(database_url, EXPIRE_LEASES)
    async with laboratory(database_url) as lab:
        worker = Worker(lab.application, WorkerId("after"))
        working = asyncio.create_task(worker.run())
        job = await lab.ended(job_id)
        worker.stop()
        await working
        assert job.status is JobStatus.SUCCEEDED
        return await lab.result(job_id)


def on(application: Application, backend: Backend) -> Application:
    """The same service with this backend, which saves every step."""
    settings = application.settings.model_copy(update={"queue": EVERY_STEP})
    return replace(application, settings=settings, scorers=ConfiguredScorers({"default": backend}))


async def run(program: Path, *arguments: str) -> None:
    """Run a program, which must succeed."""
    process = await asyncio.create_subprocess_exec(program, *arguments, stderr=asyncio.subprocess.PIPE)
    _, told = await process.communicate()
    assert process.returncode == 0, told.decode()
