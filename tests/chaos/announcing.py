"""A store that tells Postgres the lease of every write, so that the trace can check it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.ports.store import WorkerUnit
from service.records.work import Lease
from service.storage.store import PostgresStore


class AnnouncingStore(PostgresStore):
    """The Postgres store with one extra statement before each write."""

    @asynccontextmanager
    async def worker_unit(self) -> AsyncIterator[WorkerUnit]:
        async with super().worker_unit() as unit:
            connection: AsyncConnection = unit.labels._connection  # type: ignore[attr-defined] # of the Postgres kind
            yield WorkerUnit(
                work=_Announcing(unit.work, connection),
                shards=_Announcing(unit.shards, connection),
                rows=unit.rows,
                labels=_Announcing(unit.labels, connection),
                events=_Announcing(unit.events, connection),
                backends=_Announcing(unit.backends, connection),
                answers=_Announcing(unit.answers, connection),
                deliveries=unit.deliveries,
                spendings=unit.spendings,
                trainings=_Announcing(unit.trainings, connection),
            )


class _Announcing:
    """A part of the worker unit that announces each call whose first argument is a lease."""

    def __init__(self, part: object, connection: AsyncConnection) -> None:
        self._part = part
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)

        async def announced(*arguments: Any, **named: Any) -> Any:
            first = arguments[0] if arguments else None
            if isinstance(first, Lease):
                await self._announce(first)
            return await method(*arguments, **named)

        return announced

    async def _announce(self, lease: Lease) -> None:
        place, held = f"{lease.job_id}/{lease.number}", f"{lease.epoch} {lease.worker_id}"
        for_this_transaction = True
        await self._connection.execute(
            select(
                func.set_config("chaos.shard", place, for_this_transaction),
                func.set_config("chaos.lease", held, for_this_transaction),
            )
        )
