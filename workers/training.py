"""The handler of trainings: prepares a folder, supervises the process that trains in it, and stores what came out."""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import orjson
import structlog

from service.bootstrap import Application
from service.errors import ArtifactsUnavailable, StorageUnavailable, TrainingFailed
from service.identifiers import JobId
from service.ports.artifacts import Artifacts
from service.ports.observers import WorkObserver
from service.ports.store import Store
from service.records.trainings import BaseIdentity, TrainingEnd, TrainingEvent, TrainingOrder, TrainingOutcome
from service.records.work import ClaimedWork, Lease, WorkOutcome, WorkStatus
from service.training_process.child import OUT, TRAINING, TrainingChild
from service.trainings.labellers import warnings_of_base
from service.trainings.rows import EXAMPLES
from workers.heartbeat import LeaseMonitor

logger = structlog.get_logger(__name__)

PROGRESS_SECONDS = 1.0  # between two entries of the log about the loss
RETRY_SECONDS = 5.0  # while the place of artifacts cannot be reached
_SUMMED_UP = ("steps", "tokens", "seconds")

Result = TypeVar("Result")


class TrainingCrashed(Exception):
    """The process that trains has died; another try goes on from its last checkpoint."""


class TrainHandler:
    """Trains language models."""

    def __init__(self, application: Application, observer: WorkObserver, *, program: Sequence[str] = TRAINING) -> None:
        del observer  # trainings ask no backend
        self._program = program
        self._store = application.store
        self._artifacts = application.artifacts
        self._settings = application.settings.training
        self._folders = application.settings.training_folder

    async def run(self, claimed: ClaimedWork, monitor: LeaseMonitor) -> WorkOutcome:
        """Train what the item asks for, or as much of it as comes before `monitor.stop`."""
        lease = claimed.lease
        async with self._store.worker_unit() as unit:
            order = await unit.trainings.order(lease)
        work = _Work(self._store, self._artifacts, lease, self._folders / lease.job_id)
        if not await _patiently(monitor, lambda: work.prepare(order)):
            return WorkOutcome.STOPPED
        options = ("--threads", str(self._settings.threads))
        spec = self._spec(order)
        child = TrainingChild(work.folder, spec, program=self._program, options=options)
        outcome = await child.run(_Log(self._store, lease, order), monitor.stop)
        told = _without_places(
            outcome.reason, {str(work.folder): "the training's folder", str(spec["base"]): order.base}
        )
        return await self._ended(work, replace(outcome, reason=told), monitor)

    def _spec(self, order: TrainingOrder) -> dict[str, Any]:
        base = self._settings.bases.get(order.base)
        if base is None:
            raise TrainingFailed(f"this worker has no language model {order.base!r} in ICM_TRAINING__BASES")
        place = Path(base).expanduser()
        found = str(place.absolute()) if place.exists() else base  # else a name on the hub
        return {**order.spec, "base": found, "device": self._settings.device}

    async def _ended(self, work: "_Work", outcome: TrainingOutcome, monitor: LeaseMonitor) -> WorkOutcome:
        match outcome.end:
            case TrainingEnd.FINISHED:
                if await _patiently(monitor, lambda: work.finish(outcome)):
                    return WorkOutcome.SUCCEEDED
            case TrainingEnd.STOPPED:
                with suppress(ArtifactsUnavailable):  # then it goes on in this folder, or anew
                    await work.save()
            case TrainingEnd.FAILED:
                work.clear()
                raise TrainingFailed(outcome.reason)
            case TrainingEnd.CRASHED:
                await work.tell_crash(outcome.reason)
                raise TrainingCrashed(outcome.reason)
        return WorkOutcome.STOPPED


class _Work:
    """A training's folder on this machine, and its files where all workers find them."""

    def __init__(self, store: Store, artifacts: Artifacts, lease: Lease, folder: Path) -> None:
        self._store = store
        self._artifacts = artifacts
        self._lease = lease
        self.folder = folder

    @property
    def _id(self) -> JobId:
        return self._lease.job_id

    async def prepare(self, order: TrainingOrder) -> bool:
        """Have the examples in the folder, and what another worker has left where there is nothing of ours."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / EXAMPLES).exists():
            await self._artifacts.fetch(self._id, order.examples, self.folder / "rows")
            (self.folder / "rows" / EXAMPLES).rename(self.folder / EXAMPLES)
            (self.folder / "rows").rmdir()
        if order.checkpoint is not None and not (self.folder / OUT).exists():
            await self._artifacts.fetch(self._id, order.checkpoint, self.folder / OUT)
        return True

    async def save(self) -> None:
        """Store the folder as it is, so that a worker elsewhere can go on from it. Raises LeaseLost."""
        checkpoint = await self._artifacts.put(self._id, self.folder / OUT)
        async with self._store.worker_unit() as unit:
            await unit.trainings.save(self._lease, checkpoint)

    async def tell_crash(self, reason: str) -> None:
        """Add to the log why the process died; another try follows, within limits. Raises LeaseLost."""
        with suppress(StorageUnavailable):
            async with self._store.worker_unit() as unit:
                await unit.events.append(self._lease, "training.crashed", {"reason": reason})

    async def finish(self, outcome: TrainingOutcome) -> bool:
        """Store what was trained, and record with it that the item is done. Raises LeaseLost."""
        if outcome.artifact is None or outcome.sha256 is None:
            raise TrainingCrashed("the training finished without an artifact")
        artifact = await self._artifacts.put(self._id, outcome.artifact)
        if artifact.sha256 != outcome.sha256:
            raise TrainingCrashed("what was trained is not as it was written")
        manifest, report = (_json(self.folder / OUT / name) for name in ("manifest.json", "report.json"))
        summary = {name: report["training"][name] for name in _SUMMED_UP} | {"sha256": artifact.sha256}
        async with self._store.worker_unit() as unit:
            await unit.trainings.finish(self._lease, artifact, manifest=manifest, report=report)
            await unit.work.finish(self._lease, WorkStatus.SUCCEEDED, summary=summary)
        self.clear()  # without waiting: the lease is over, and whoever renews it next would take it for lost
        return True

    def clear(self) -> None:
        """Remove the folder; whatever else is stored of the training, the sweep removes."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Log:
    """Tells the training's log what its process tells, some of it now and then only."""

    def __init__(self, store: Store, lease: Lease, order: TrainingOrder) -> None:
        self._store = store
        self._lease = lease
        self._order = order
        self._progress: dict[str, Any] = {}
        self._told = -PROGRESS_SECONDS

    async def __call__(self, event: TrainingEvent) -> None:
        """The next event. Raises LeaseLost; while the database is away nothing is told, and the training goes on."""
        with suppress(StorageUnavailable):
            match event.name:
                case "rows":
                    await self._append("training.rows", event.facts)
                    await self._compare(event.facts.get("base"))
                case "evaluation":
                    await self._append("training.evaluation", event.facts)
                case "start":
                    self._progress = dict(event.facts)
                case "step":
                    self._progress |= event.facts
                    await self._tell_progress()
                case "checkpoint":
                    await self._save(event.facts)

    async def _compare(self, base: object) -> None:
        """Warn where the base is another language model than labelled the jobs, as far as that is known."""
        if not isinstance(base, Mapping):
            return
        revision = base.get("revision")
        identity = BaseIdentity(str(base.get("name")), str(base.get("fingerprint")), revision and str(revision))
        for warning in warnings_of_base(self._order.labelled_by, self._order.base, identity):
            async with self._store.worker_unit() as unit:
                await unit.work.warn(self._lease, warning)

    async def _tell_progress(self) -> None:
        now = time.monotonic()
        if now - self._told >= PROGRESS_SECONDS:
            self._told = now
            await self._append("training.progress", self._progress)

    async def _append(self, event_type: str, facts: Mapping[str, Any]) -> None:
        async with self._store.worker_unit() as unit:
            if event_type == "training.progress":
                await unit.trainings.progress(self._lease, facts)
            await unit.events.append(self._lease, event_type, facts)

    async def _save(self, facts: Mapping[str, Any]) -> None:
        """A checkpoint is progress, which forgives the crashes before."""
        async with self._store.worker_unit() as unit:
            await unit.trainings.progress(self._lease, self._progress)
            await unit.work.save(self._lease, orjson.dumps(dict(facts)))


async def _patiently(monitor: LeaseMonitor, work: Callable[[], Awaitable[bool]]) -> bool:
    """Do what needs the place of artifacts once it can be reached; false where the item must be given back before."""
    while not monitor.stop.is_set():
        try:
            return await work()
        except ArtifactsUnavailable as error:
            logger.warning("the training waits", reason=str(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(monitor.stop.wait(), RETRY_SECONDS)
    return False


def _without_places(reason: str, names: Mapping[str, str]) -> str:
    """The reason with names for what lies on this machine, which is nobody's business."""
    for place, name in names.items():
        reason = reason.replace(place, name)
    return reason


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
