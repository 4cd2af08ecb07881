"""Claims a shard, runs it, records how it ended, and begins again."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import structlog
from opentelemetry.trace import Span

from service.bootstrap import Application
from service.errors import BackendUnavailable, LeaseLost, QuotaExhausted, ServiceError, StorageFull, StorageUnavailable
from service.identifiers import WorkerId
from service.jobs.running.answer_cache import Memory
from service.jobs.running.run import ShardOutcome, run_shard
from service.ports.observers import UNOBSERVED, WorkObserver
from service.records.access import Quotas
from service.records.jobs import Backoff, ClaimedShard, PauseReason, ShardStatus
from service.records.observations import TurnEnd
from service.spans import span_of_turn
from workers.heartbeat import LeaseMonitor, keep_lease

logger = structlog.get_logger(__name__)

STORAGE_DELAY_SECONDS = 2.0
FULL_DISK_DELAY_SECONDS = 5.0
CRASH_DELAY_SECONDS = 1.0
NO_BACKOFF = Backoff(0.0, 0.0)
GRACE_SECONDS = 7.0  # for the step at hand, once the work must end; then it is dropped and done again later


class Worker:
    """One worker: one shard at a time."""

    def __init__(self, application: Application, worker_id: WorkerId, observer: WorkObserver = UNOBSERVED) -> None:
        self._application = application
        self._store = application.store
        self._queue = application.settings.queue
        self._quotas = Quotas(**application.settings.quota.model_dump())
        self._memory = Memory(self._store, application.settings.memory.max_answers)
        self._id = worker_id
        self._observer = observer
        self._stopping = asyncio.Event()
        self._pulse: LeaseMonitor | None = None

    def stop(self) -> None:
        """Ask for the end: the current step is finished, saved, and the shard given back."""
        self._stopping.set()
        if self._pulse is not None:
            self._pulse.stop.set()

    async def run(self) -> None:
        """Work until told to stop."""
        while not self._stopping.is_set():
            try:
                if not await self.work_once():
                    await self._until_stopped(self._store.wait_for_work(self._queue.poll_seconds))
            except StorageUnavailable as error:
                logger.warning("the database cannot be reached", reason=str(error))
                await self._until_stopped(asyncio.sleep(STORAGE_DELAY_SECONDS))
            except LeaseLost as error:
                logger.warning("the lease was lost; another worker goes on", reason=str(error))

    async def work_once(self) -> bool:
        """Claim and run one shard; says whether there was one. Raises LeaseLost and StorageUnavailable."""
        claimed = await self._claim()
        if claimed is None:
            return False
        with (
            structlog.contextvars.bound_contextvars(**_ids(claimed)),
            span_of_turn("shard.turn", _attributes(claimed), traceparent=claimed.origin.traceparent) as turn,
        ):
            logger.info("shard claimed", rows=claimed.rows, resumed=claimed.checkpoint is not None)
            how = await self._told_end(claimed, turn)
            logger.info("shard ended", outcome=how)
        return True

    async def _claim(self) -> ClaimedShard | None:
        began = time.monotonic()
        async with self._store.worker_unit() as unit:
            claimed = await unit.shards.claim(self._id, self._queue.lease_seconds)
        self._observer.claimed(time.monotonic() - began, found=claimed is not None)
        return claimed

    async def _told_end(self, claimed: ClaimedShard, turn: Span) -> TurnEnd:
        """How the shard's turn ended, whoever observes being told of it."""
        how = TurnEnd.INTERRUPTED
        try:
            how = await self._ended(claimed)
        except LeaseLost:
            how = TurnEnd.LEASE_LOST
            raise
        except StorageUnavailable:
            how = TurnEnd.STORAGE_LOST
            raise
        finally:
            turn.set_attribute("icm.outcome", how.value)
            self._observer.ended(how)
        return how

    async def _ended(self, claimed: ClaimedShard) -> TurnEnd:
        """How the shard's turn ended; recorded even where this worker itself is cancelled."""
        self._pulse = monitor = LeaseMonitor()
        if self._stopping.is_set():
            monitor.stop.set()
        work = asyncio.create_task(self._work_on(claimed, monitor))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            monitor.stop.set()
            await asyncio.wait({work})
            raise
        finally:
            self._pulse = None

    async def _work_on(self, claimed: ClaimedShard, monitor: LeaseMonitor) -> TurnEnd:
        """Run the shard and record its end; while the disk of the database is full, give it back to wait."""
        try:
            return await self._worked_on(claimed, monitor)
        except StorageFull as error:
            logger.warning("the disk of the database is full; the shard waits", reason=str(error))
            return await self._release(claimed, FULL_DISK_DELAY_SECONDS)  # if its lease ran out, that were a crash

    async def _worked_on(self, claimed: ClaimedShard, monitor: LeaseMonitor) -> TurnEnd:
        """Run the shard while its lease is kept, and record its end."""
        try:
            outcome = await self._run_leased(claimed, monitor)
        except (LeaseLost, StorageUnavailable):
            raise
        except BackendUnavailable as error:
            return await self._await_backend(claimed, error)
        except QuotaExhausted as error:
            return await self._await_tokens(claimed, error)
        except ServiceError as error:
            return await self._fail(claimed, error)
        except Exception:
            logger.exception("the shard failed unexpectedly")
            return await self._release(claimed, CRASH_DELAY_SECONDS, crashed=True)
        if outcome is ShardOutcome.SUCCEEDED:
            return TurnEnd.SUCCEEDED
        return await self._release(claimed, 0.0)

    async def _run_leased(self, claimed: ClaimedShard, monitor: LeaseMonitor) -> ShardOutcome:
        """Run the shard until it ends, the lease is lost, or the time of grace after a stop has passed."""
        run = asyncio.create_task(self._run(claimed, monitor))
        heart = asyncio.create_task(keep_lease(self._store, claimed.lease, self._queue.lease_seconds, monitor))
        grace = asyncio.create_task(_grace(monitor))
        tasks = (run, heart, grace)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if run.done():
                return run.result()
            if heart.done():
                heart.result()
                raise LeaseLost("the lease ran out or was taken over")
            return ShardOutcome.STOPPED
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, claimed: ClaimedShard, monitor: LeaseMonitor) -> ShardOutcome:
        scorer = self._application.scorers.get(claimed.config.model)
        return await run_shard(
            self._store,
            scorer,
            claimed,
            checkpoint_seconds=self._queue.checkpoint_seconds,
            stop=monitor.stop,
            memory=self._memory,
            observer=self._observer,
            quotas=self._quotas,
            trainer=self._application.scorers.trainer(claimed.config.model),
        )

    async def _release(self, claimed: ClaimedShard, delay_seconds: float, *, crashed: bool = False) -> TurnEnd:
        async with self._store.worker_unit() as unit:
            await unit.shards.release(claimed.lease, delay_seconds=delay_seconds, crashed=crashed)
        return TurnEnd.CRASHED if crashed else TurnEnd.GIVEN_BACK

    async def _await_backend(self, claimed: ClaimedShard, error: BackendUnavailable) -> TurnEnd:
        logger.warning("the backend cannot be reached; the job waits", reason=str(error))
        backoff = Backoff(self._queue.retry_seconds, self._queue.max_retry_seconds)
        wait = error.retry_after_seconds or 0.0
        return await self._pause(claimed, PauseReason.BACKEND_UNAVAILABLE, error, backoff, wait)

    async def _await_tokens(self, claimed: ClaimedShard, error: QuotaExhausted) -> TurnEnd:
        logger.info("the project has no tokens left today; the job waits", reason=str(error))
        return await self._pause(claimed, PauseReason.QUOTA_EXHAUSTED, error, NO_BACKOFF, error.retry_after_seconds)

    async def _pause(
        self, claimed: ClaimedShard, reason: PauseReason, error: ServiceError, backoff: Backoff, at_least_seconds: float
    ) -> TurnEnd:
        async with self._store.worker_unit() as unit:
            await unit.shards.pause(claimed, reason, str(error), backoff=backoff, at_least_seconds=at_least_seconds)
        return TurnEnd.PAUSED

    async def _fail(self, claimed: ClaimedShard, error: ServiceError) -> TurnEnd:
        logger.error("the shard failed", reason=str(error))
        details = {"code": type(error).__name__, "message": str(error)}
        async with self._store.worker_unit() as unit:
            await unit.shards.finish(claimed.lease, ShardStatus.FAILED, error=details)
        return TurnEnd.FAILED

    async def _until_stopped(self, waiting: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.create_task(waiting), asyncio.create_task(self._stopping.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _ids(claimed: ClaimedShard) -> dict[str, str | int]:
    """What every log line during the turn says of the shard."""
    lease, request_id = claimed.lease, claimed.origin.request_id
    ids: dict[str, str | int] = {"job": lease.job_id, "shard": lease.shard, "epoch": lease.epoch}
    return ids | {"project": claimed.project} | ({} if request_id is None else {"request_id": request_id})


def _attributes(claimed: ClaimedShard) -> dict[str, str | int]:
    """What the turn's span says of it: the same, and how much there is to do by whom."""
    ids = {f"icm.{name}": value for name, value in _ids(claimed).items()}
    return {**ids, "icm.data.rows": claimed.rows, "icm.backend": claimed.config.model}


async def _grace(monitor: LeaseMonitor) -> None:
    """Return when the work has been asked to end for long enough."""
    await monitor.stop.wait()
    await asyncio.sleep(GRACE_SECONDS)
