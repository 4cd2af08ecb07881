"""The store in Postgres: opens units of work. Each is one transaction, and only this module commits."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import JobId
from service.ports.access import AccessUnit
from service.ports.store import EventSubscription, ProjectUnit, WorkerUnit
from service.records.access import Caller
from service.records.observations import JobStatistics
from service.records.work import WorkKind
from service.storage.access import ApiKeyTable, AuditTable, ProjectTable
from service.storage.account import AccountTable, SpendingTable
from service.storage.answers import AnswerTable
from service.storage.backends import BackendTable
from service.storage.connections import REQUEST_PATIENCE_SECONDS, WORKER_PATIENCE_SECONDS, Connections
from service.storage.datasets import DatasetTable, ShardRowTable
from service.storage.engine import create_engine, driver_errors
from service.storage.events import EventLog, LeasedEventLog
from service.storage.gold import GoldTable
from service.storage.idempotency import IdempotencyTable
from service.storage.job_statistics import count_jobs
from service.storage.jobs import JobTable
from service.storage.labels import LabelReader, LabelWriter
from service.storage.listener import Listener
from service.storage.retention import RetentionTables
from service.storage.shards import ShardTable
from service.storage.tables import metadata
from service.storage.trainings import LeasedTrainings, TrainingTable
from service.storage.webhook_queue import DeliveryQueue
from service.storage.webhooks import WebhookTable
from service.storage.work_queue import WorkTable


class PostgresStore:
    """Opens units of work on a pool of connections."""

    def __init__(
        self, url: str, *, pool_size: int = 10, statement_timeout_seconds: float = 60.0, max_crashes: int = 5
    ) -> None:
        self._engine = create_engine(url, pool_size=pool_size, statement_timeout_seconds=statement_timeout_seconds)
        self._connections = Connections(self._engine, pool_size)
        self._listener = Listener(url)
        self._max_crashes = max_crashes

    @asynccontextmanager
    async def project_unit(self, caller: Caller) -> AsyncIterator[ProjectUnit]:
        """A unit of work for the API, on behalf of the caller's project. Raises StorageUnavailable."""
        async with self._transaction(REQUEST_PATIENCE_SECONDS) as connection:
            yield ProjectUnit(
                datasets=DatasetTable(connection, caller.project),
                jobs=JobTable(connection, caller.project),
                labels=LabelReader(connection, caller.project),
                gold=GoldTable(connection, caller.project),
                events=EventLog(connection, caller.project),
                idempotency=IdempotencyTable(connection, caller.project),
                account=AccountTable(connection, caller.project),
                audit=AuditTable(connection),
                backends=BackendTable(connection),
                webhooks=WebhookTable(connection, caller.project),
                trainings=TrainingTable(connection, caller.project),
            )

    @asynccontextmanager
    async def access_unit(self) -> AsyncIterator[AccessUnit]:
        """A unit of work for authentication and key management. Raises StorageUnavailable."""
        async with self._transaction(REQUEST_PATIENCE_SECONDS) as connection:
            yield AccessUnit(
                keys=ApiKeyTable(connection), projects=ProjectTable(connection), audit=AuditTable(connection)
            )

    @asynccontextmanager
    async def worker_unit(self) -> AsyncIterator[WorkerUnit]:
        """A unit of work for a worker. Raises StorageUnavailable."""
        async with self._transaction(WORKER_PATIENCE_SECONDS) as connection:
            work = WorkTable(connection, max_crashes=self._max_crashes)
            yield WorkerUnit(
                work=work,
                shards=ShardTable(connection, work),
                rows=ShardRowTable(connection),
                labels=LabelWriter(connection),
                events=LeasedEventLog(connection),
                backends=BackendTable(connection),
                answers=AnswerTable(connection),
                deliveries=DeliveryQueue(connection),
                spendings=SpendingTable(connection),
                trainings=LeasedTrainings(connection),
            )

    @asynccontextmanager
    async def maintenance_unit(self) -> AsyncIterator[RetentionTables]:
        """A unit of work for maintenance: it deletes data past its retention period. Raises StorageUnavailable."""
        async with self._transaction(WORKER_PATIENCE_SECONDS) as connection:
            yield RetentionTables(connection)

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Return when work may have been queued, or after the time-out."""
        await self._listener.wait_for_work(timeout_seconds)

    def follow_events(self, job_id: JobId) -> AbstractContextManager[EventSubscription]:
        """Subscribe to the job's events within the context."""
        return self._listener.follow_events(job_id)

    @property
    def load(self) -> Connections:
        """How many connections of the pool are in use; the LISTEN connection does not count."""
        return self._connections

    async def job_statistics(self) -> Mapping[WorkKind, JobStatistics]:
        """Numbers of jobs and work items of each kind, and their longest wait. Raises StorageUnavailable."""
        async with self._transaction(REQUEST_PATIENCE_SECONDS) as connection:
            return await count_jobs(connection)

    async def ping(self) -> None:
        """Check the database. Raises StorageUnavailable if it is unreachable or lacks a table or column of ours."""
        async with self._transaction(REQUEST_PATIENCE_SECONDS) as connection:
            await connection.execute(select(*(exists(select(table)) for table in metadata.sorted_tables)))

    async def close(self) -> None:
        """Release every connection."""
        await self._listener.close()
        await self._engine.dispose()

    @asynccontextmanager
    async def _transaction(self, patience_seconds: float) -> AsyncIterator[AsyncConnection]:
        async with self._connections.connection(patience_seconds) as connection:
            with driver_errors():
                async with connection.begin():
                    yield connection
