"""The worker's loop: claims a work item, runs the handler of its kind, records the outcome, and begins again."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from opentelemetry.trace import Span

from service.bootstrap import Application
from service.errors import LeaseLost, StorageFull, StorageUnavailable
from service.identifiers import WorkerId
from service.ports.observers import UNOBSERVED, WorkObserver
from service.records.observations import TurnEnd
from service.records.work import ClaimedWork, WorkKind, WorkOutcome
from service.spans import span_of_turn
from workers.endings import Ending, ending_by, ending_with
from workers.handlers import HANDLERS
from workers.heartbeat import keep_lease

logger = structlog.get_logger(__name__)

STORAGE_DELAY_SECONDS = 2.0
GRACE_SECONDS = 7.0  # for the current step after a stop; then the worker drops the step, and another one repeats it


class Worker:
    """A worker that does one work item at a time, of the given kinds."""

    def __init__(
        self,
        application: Application,
        worker_id: WorkerId,
        observer: WorkObserver = UNOBSERVED,
        kinds: Sequence[WorkKind] = tuple(HANDLERS),
    ) -> None:
        self._store = application.store
        self._queue = application.settings.queue
        self._handlers = {kind: HANDLERS[kind](application, observer) for kind in kinds if kind in HANDLERS}
        self._kinds = tuple(self._handlers)  # in the order of the next claim
        self._id = worker_id
        self._observer = observer
        self._stopping = asyncio.Event()
        self._stop_turn = asyncio.Event()

    def stop(self) -> None:
        """Ask the worker to stop: it finishes and saves the current step, and releases the work item."""
        self._stopping.set()
        self._stop_turn.set()

    async def run(self) -> None:
        """Do work items until `stop` is called."""
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
        """Claim and do one work item; returns False if there was none. Raises LeaseLost and StorageUnavailable."""
        began = time.monotonic()
        async with self._store.worker_unit() as unit:
            claimed = await unit.work.claim(self._kinds, self._id, self._queue.lease_seconds)
        self._observer.claimed(time.monotonic() - began, found=claimed is not None)
        if claimed is None:
            return False
        self._kinds = (*(kind for kind in self._kinds if kind is not claimed.kind), claimed.kind)  # other kinds first
        ids, noun = _ids(claimed), claimed.kind.noun
        attributes = {f"icm.{name}": value for name, value in ids.items()}
        with (
            structlog.contextvars.bound_contextvars(**ids),
            span_of_turn(f"{noun}.turn", attributes, traceparent=claimed.origin.traceparent) as turn,
        ):
            begun, done = f"{noun} claimed", f"{noun} ended"
            logger.info(begun, **claimed.payload, resumed=claimed.checkpoint is not None)
            logger.info(done, outcome=await self._turn(claimed, turn))
        return True

    async def _turn(self, claimed: ClaimedWork, turn: Span) -> TurnEnd:
        """Run a turn and report its end to the observer; if the worker is cancelled, it still records the end."""
        self._stop_turn = stop = asyncio.Event()
        if self._stopping.is_set():
            stop.set()
        work = asyncio.create_task(self._run_and_record(claimed, stop))
        end = TurnEnd.INTERRUPTED
        try:
            end = await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({work})
            raise
        except LeaseLost:
            end = TurnEnd.LEASE_LOST
            raise
        except StorageUnavailable:
            end = TurnEnd.STORAGE_LOST
            raise
        finally:
            turn.set_attribute("icm.outcome", end.value)
            self._observer.ended(claimed.kind, end)
        return end

    async def _run_and_record(self, claimed: ClaimedWork, stop: asyncio.Event) -> TurnEnd:
        """Do the item while renewing its lease, and record its end. Raises LeaseLost and StorageUnavailable."""

        async def recorded(ending: Ending) -> TurnEnd:
            async with self._store.worker_unit() as unit:
                await ending.record(unit.work, claimed)
            return ending.end

        try:
            ending = ending_with(await self._run_handler(claimed, stop))
        except Exception as error:  # noqa: BLE001 - `ending_by` logs it, or raises it again
            ending = ending_by(error, claimed.kind.noun, self._queue)
        try:
            return await recorded(ending)
        except StorageFull as error:
            return await recorded(ending_by(error, claimed.kind.noun, self._queue))

    async def _run_handler(self, claimed: ClaimedWork, stop: asyncio.Event) -> WorkOutcome:
        """Run the handler until it ends, the lease is lost, or the grace period after a stop is over."""
        run = asyncio.create_task(self._handlers[claimed.kind].run(claimed, stop))
        heartbeat = asyncio.create_task(keep_lease(self._store, claimed.lease, self._queue.lease_seconds, stop))
        grace = asyncio.create_task(_grace_period(stop))
        async with _first_of(run, heartbeat, grace):
            if run.done():
                return run.result()
            if heartbeat.done():
                heartbeat.result()
                raise LeaseLost("the lease expired, or another worker has claimed the item")
            return WorkOutcome.STOPPED

    async def _until_stopped(self, waiting: Coroutine[Any, Any, None]) -> None:
        wait = asyncio.create_task(waiting)
        async with _first_of(wait, asyncio.create_task(self._stopping.wait())):
            if wait.done():
                wait.result()


def _ids(claimed: ClaimedWork) -> dict[str, str | int]:
    """The item's attributes for the turn's span and for every log line during the turn."""
    lease, request_id = claimed.lease, claimed.origin.request_id
    ids: dict[str, str | int] = {"job": lease.job_id, claimed.kind.noun: lease.number, "epoch": lease.epoch}
    return ids | {"project": claimed.project} | ({} if request_id is None else {"request_id": request_id})


@asynccontextmanager
async def _first_of(*tasks: asyncio.Task[Any]) -> AsyncIterator[None]:
    """Wait until one task ends; after the block, cancel the others and wait for their end."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _grace_period(stop: asyncio.Event) -> None:
    """Return when the grace period after a stop is over."""
    await stop.wait()
    await asyncio.sleep(GRACE_SECONDS)
