"""The result of a job without faults: one worker runs it from beginning to end."""

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from api.app import create_app
from service.bootstrap import build_application
from service.identifiers import JobId
from service.ports.store import WorkerUnit
from service.records.work import Lease
from service.scoring.kinds import backend_of
from service.settings import MemorySettings, QueueSettings, Settings
from tests.support.memory import MemoryStore
from tests.support.running.whole import finished_job

BACKENDS = (backend_of(kind="deterministic"), backend_of(name="served", kind="deterministic"))


@dataclass(frozen=True)
class Undisturbed:
    """A job's downloaded result, and its shards' checkpoints, one for each step."""

    result: bytes
    checkpoints: Mapping[int, Sequence[str]]

    @property
    def steps(self) -> int:
        """The number of committed steps."""
        return sum(map(len, self.checkpoints.values()))


class _NotingStore(MemoryStore):
    """A store that records the saved checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: dict[int, list[str]] = defaultdict(list)

    @asynccontextmanager
    async def worker_unit(self) -> AsyncIterator[WorkerUnit]:
        async with super().worker_unit() as unit:
            save = unit.shards.save

            async def noted(lease: Lease, **values: Any) -> None:
                await save(lease, **values)
                self._note(lease.number, values["checkpoint"])

            unit.shards.save = noted  # type: ignore[method-assign] # this unit of work's alone
            yield unit

    def _note(self, shard: int, checkpoint: bytes) -> None:
        """Record a checkpoint; the last one is saved once more when the shard ends."""
        digest = hashlib.md5(checkpoint, usedforsecurity=False).hexdigest()
        if self.saved[shard][-1:] != [digest]:
            self.saved[shard].append(digest)


async def undisturbed(rows: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> Undisturbed:
    """Run the job."""
    store = _NotingStore()
    settings = Settings(
        backends=BACKENDS, queue=QueueSettings(checkpoint_seconds=0.0), memory=MemorySettings(max_answers=0)
    )
    application = build_application(settings, store=store)
    transport = httpx.ASGITransport(create_app(application))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        job = await finished_job(client, application, rows, config)
        assert job["status"] == "succeeded", job
        return Undisturbed(await result_bytes(client, JobId(job["id"])), dict(store.saved))


async def result_bytes(client: httpx.AsyncClient, job_id: JobId) -> bytes:
    """The downloaded result."""
    reply = await client.get(f"/v1/jobs/{job_id}/result")
    assert reply.status_code == 200, reply.text
    return reply.content
