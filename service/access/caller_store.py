"""The store narrowed to one caller, so that nobody who is given it can forget whose data it is about."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass

import structlog

from service.access.authentication import confirm
from service.errors import NotAuthenticated
from service.identifiers import JobId
from service.ports.store import News, ProjectStore, ProjectUnit, Store
from service.records.access import NO_QUOTAS, Caller, Quotas


@dataclass(frozen=True, slots=True)
class CallerStore:
    """Opens units of work on behalf of one caller, and logs what the audit log was told once it is stored."""

    store: Store
    caller: Caller
    quotas: Quotas = NO_QUOTAS  # of projects that have none of their own

    @asynccontextmanager
    async def project_unit(self) -> AsyncIterator[ProjectUnit]:
        """A unit of work on the caller's behalf."""
        async with self.store.project_unit(self.caller) as unit:
            yield unit
        for entry in unit.audit.recorded:
            structlog.get_logger("audit").info(
                "audit",
                action=entry.action,
                target=entry.target,
                project=entry.project,
                key_id=entry.key_id,
                request_id=entry.request_id,
            )

    async def is_welcome(self) -> bool:
        """Whether the caller's key is still good; for answers that go on for long."""
        try:
            await confirm(self.store, self.caller)
        except NotAuthenticated:
            return False
        return True

    def follow_events(self, job_id: JobId) -> AbstractContextManager[News]:
        """Hear of the job's events for as long as the context lasts."""
        return self.store.follow_events(job_id)


@dataclass(frozen=True, slots=True)
class LimitedProjectStore:
    """A project store for long reads, few units at a time: short requests need database connections, too."""

    project_store: ProjectStore
    turns: asyncio.Semaphore

    @property
    def caller(self) -> Caller:
        """On whose behalf units of work are opened."""
        return self.project_store.caller

    @property
    def quotas(self) -> Quotas:
        """How much a project may have that has no quotas of its own."""
        return self.project_store.quotas

    @asynccontextmanager
    async def project_unit(self) -> AsyncIterator[ProjectUnit]:
        """A unit of work on the caller's behalf, once it is its turn."""
        async with self.turns, self.project_store.project_unit() as unit:
            yield unit

    async def is_welcome(self) -> bool:
        """Whether the caller's key is still good."""
        return await self.project_store.is_welcome()

    def follow_events(self, job_id: JobId) -> AbstractContextManager[News]:
        """Hear of the job's events for as long as the context lasts."""
        return self.project_store.follow_events(job_id)
