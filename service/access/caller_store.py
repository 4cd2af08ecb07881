"""The store restricted to one caller, so that use cases can only reach the data of the caller's project."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass

import structlog

from service.access.authentication import confirm
from service.errors import NotAuthenticated
from service.identifiers import JobId
from service.ports.store import EventSubscription, ProjectStore, ProjectUnit, Store
from service.records.access import NO_QUOTAS, Caller, Quotas


@dataclass(frozen=True, slots=True)
class CallerStore:
    """Opens units of work on behalf of one caller, and logs their audit entries once these are committed."""

    store: Store
    caller: Caller
    quotas: Quotas = NO_QUOTAS  # for projects without quotas of their own

    @asynccontextmanager
    async def project_unit(self) -> AsyncIterator[ProjectUnit]:
        """See ProjectStore."""
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
        """See ProjectStore."""
        try:
            await confirm(self.store, self.caller)
        except NotAuthenticated:
            return False
        return True

    def follow_events(self, job_id: JobId) -> AbstractContextManager[EventSubscription]:
        """Hear of the job's events for as long as the context lasts."""
        return self.store.follow_events(job_id)


@dataclass(frozen=True, slots=True)
class LimitedProjectStore:
    """A project store for long reads; it limits the units open at once, to leave database connections for others."""

    project_store: ProjectStore
    turns: asyncio.Semaphore

    @property
    def caller(self) -> Caller:
        """See ProjectStore."""
        return self.project_store.caller

    @property
    def quotas(self) -> Quotas:
        """See ProjectStore."""
        return self.project_store.quotas

    @asynccontextmanager
    async def project_unit(self) -> AsyncIterator[ProjectUnit]:
        """See ProjectStore; waits while too many units are open."""
        async with self.turns, self.project_store.project_unit() as unit:
            yield unit

    async def is_welcome(self) -> bool:
        """See ProjectStore."""
        return await self.project_store.is_welcome()

    def follow_events(self, job_id: JobId) -> AbstractContextManager[EventSubscription]:
        """Hear of the job's events for as long as the context lasts."""
        return self.project_store.follow_events(job_id)
