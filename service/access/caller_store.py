"""The store restricted to one caller, so that use cases can only reach the data of the caller's project."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

import structlog

from service.access.authentication import is_still_valid
from service.identifiers import JobId
from service.ports.store import EventSubscription, ProjectUnit, Store
from service.records.access import NO_QUOTAS, Caller, Quotas

_UNLIMITED = nullcontext()


@dataclass(frozen=True, slots=True)
class CallerStore:
    """Opens units of work on behalf of one caller, and logs their audit entries once these are committed."""

    store: Store
    caller: Caller
    quotas: Quotas = NO_QUOTAS  # for projects without quotas of their own
    turns: AbstractAsyncContextManager[object] = _UNLIMITED  # limits the units that long reads open at once

    @asynccontextmanager
    async def project_unit(self) -> AsyncIterator[ProjectUnit]:
        """See ProjectStore."""
        async with self.turns, self.store.project_unit(self.caller) as unit:
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
        return await is_still_valid(self.store, self.caller)

    def follow_events(self, job_id: JobId) -> AbstractContextManager[EventSubscription]:
        """See ProjectStore."""
        return self.store.follow_events(job_id)
