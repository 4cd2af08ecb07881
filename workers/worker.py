"""Claims a shard, runs it, records how it ended, and begins again."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from service.bootstrap import Application
from service.entities import Backoff, ClaimedShard, PauseReason, ShardStatus
from service.errors import BackendUnavailable, LeaseLost, ServiceError, StorageFull, StorageUnavailable
from service.identifiers import WorkerId
from service.jobs.asking import Memory
from service.jobs.run import ShardOutcome, run_shard
from workers.heartbeat import Pulse, keep_lease

logger = structlog.get_logger(__name__)

STORAGE_DELAY_SECONDS = 2.0
FULL_DISK_DELAY_SECONDS = 5.0
CRASH_DELAY_SECONDS = 1.0
GRACE_SECONDS = 7.0  # for the step at hand, once the work must end; then it is dropped and done again later


class Worker:
    """One worker: one shard at a time."""

    def __init__(self, application: Application, worker_id: WorkerId) -> None:
        self._application = application
        self._store = application.store
        self._queue = application.settings.queue
        self._memory = Memory(self._store, application.settings.memory.max_answers)
        self._id = worker_id
        self._stopping = asyncio.Event()
        self._pulse: Pulse | None = None

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
        async with self._store.workbench() as unit:
            claimed = await unit.shards.claim(self._id, self._queue.lease_seconds)
        if claimed is None:
            return False
        lease = claimed.lease
        with structlog.contextvars.bound_contextvars(job=lease.job_id, shard=lease.shard, epoch=lease.epoch):
            logger.info("shard claimed", rows=claimed.rows, resumed=claimed.checkpoint is not None)
            outcome = await self._ended(claimed)
            logger.info("shard ended", outcome=outcome)
        return True

    async def _ended(self, claimed: ClaimedShard) -> str:
        """How the shard's turn ended; recorded even where this worker itself is cancelled."""
        self._pulse = pulse = Pulse()
        if self._stopping.is_set():
            pulse.stop.set()
        work = asyncio.create_task(self._work_on(claimed, pulse))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            pulse.stop.set()
            await asyncio.wait({work})
            raise
        finally:
            self._pulse = None

    async def _work_on(self, claimed: ClaimedShard, pulse: Pulse) -> str:
        """Run the shard and record its end; while the disk of the database is full, give it back to wait."""
        try:
            return await self._worked_on(claimed, pulse)
        except StorageFull as error:
            logger.warning("the disk of the database is full; the shard waits", reason=str(error))
            return await self._release(claimed, FULL_DISK_DELAY_SECONDS)  # if its lease ran out, that were a crash

    async def _worked_on(self, claimed: ClaimedShard, pulse: Pulse) -> str:
        """Run the shard while its lease is kept, and record its end."""
        try:
            outcome = await self._run_leased(claimed, pulse)
        except (LeaseLost, StorageUnavailable):
            raise
        except BackendUnavailable as error:
            return await self._pause(claimed, error)
        except ServiceError as error:
            return await self._fail(claimed, error)
        except Exception:
            logger.exception("the shard failed unexpectedly")
            return await self._release(claimed, CRASH_DELAY_SECONDS, crashed=True)
        if outcome is ShardOutcome.SUCCEEDED:
            return outcome.value
        if pulse.cancelled:
            return await self._finish_cancelled(claimed)
        return await self._release(claimed, 0.0)

    async def _run_leased(self, claimed: ClaimedShard, pulse: Pulse) -> ShardOutcome:
        """Run the shard until it ends, the lease is lost, or the time of grace after a stop has passed."""
        run = asyncio.create_task(self._run(claimed, pulse))
        heart = asyncio.create_task(keep_lease(self._store, claimed.lease, self._queue.lease_seconds, pulse))
        grace = asyncio.create_task(_grace(pulse))
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

    async def _run(self, claimed: ClaimedShard, pulse: Pulse) -> ShardOutcome:
        scorer = self._application.scorers.get(claimed.config.model)
        return await run_shard(
            self._store,
            scorer,
            claimed,
            checkpoint_seconds=self._queue.checkpoint_seconds,
            stop=pulse.stop,
            memory=self._memory,
        )

    async def _release(self, claimed: ClaimedShard, delay_seconds: float, *, crashed: bool = False) -> str:
        async with self._store.workbench() as unit:
            await unit.shards.release(claimed.lease, delay_seconds=delay_seconds, crashed=crashed)
        return "given back"

    async def _pause(self, claimed: ClaimedShard, error: BackendUnavailable) -> str:
        logger.warning("the backend cannot be reached; the job waits", reason=str(error))
        async with self._store.workbench() as unit:
            await unit.shards.pause(
                claimed,
                PauseReason.BACKEND_UNAVAILABLE,
                str(error),
                backoff=Backoff(self._queue.retry_seconds, self._queue.max_retry_seconds),
                at_least_seconds=error.retry_after_seconds or 0.0,
            )
        return "paused"

    async def _fail(self, claimed: ClaimedShard, error: ServiceError) -> str:
        logger.error("the shard failed", reason=str(error))
        details = {"code": type(error).__name__, "message": str(error)}
        async with self._store.workbench() as unit:
            await unit.shards.finish(claimed.lease, ShardStatus.FAILED, error=details)
        return ShardStatus.FAILED.value

    async def _finish_cancelled(self, claimed: ClaimedShard) -> str:
        async with self._store.workbench() as unit:
            await unit.shards.finish(claimed.lease, ShardStatus.CANCELLED)
        return ShardStatus.CANCELLED.value

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


async def _grace(pulse: Pulse) -> None:
    """Return when the work has been asked to end for long enough."""
    await pulse.stop.wait()
    await asyncio.sleep(GRACE_SECONDS)
