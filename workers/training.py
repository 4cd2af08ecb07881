"""Runs a training's work item: prepares its folder, supervises the process that trains, and stores the result."""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import structlog

from service.bootstrap import Application
from service.errors import ArtifactMissing, ArtifactsUnavailable, StorageUnavailable, TrainingFailed
from service.ports.artifacts import Artifacts
from service.ports.observers import WorkObserver
from service.ports.store import Store
from service.records.trainings import (
    BaseIdentity,
    NeededModel,
    TrainingEnd,
    TrainingEvent,
    TrainingOrder,
    TrainingOutcome,
)
from service.records.work import ClaimedWork, Lease, WorkOutcome, WorkStatus
from service.training_process.child import OUT, TRAINING, TrainingChild
from service.trainings.base_checks import warnings_of_base
from service.trainings.rows import EXAMPLES

logger = structlog.get_logger(__name__)

MANIFEST = "manifest.json"
PROGRESS_SECONDS = 1.0  # the shortest time between two progress entries of the event log
RETRY_SECONDS = 5.0  # while the artifact store is unavailable
_SUMMARY_FIELDS = ("steps", "tokens", "seconds")


class TrainingCrashed(Exception):
    """The process that trains has died; the next attempt resumes from its last checkpoint."""


class TrainHandler:
    """Trains language models."""

    def __init__(self, application: Application, observer: WorkObserver, *, program: Sequence[str] = TRAINING) -> None:
        del observer  # trainings ask no backend
        self._program = program
        self._store = application.store
        self._artifacts = application.artifacts
        self._settings = application.settings.training
        self._folders = application.settings.training_folder

    async def run(self, claimed: ClaimedWork, stop: asyncio.Event) -> WorkOutcome:
        """Run the training until it ends or `stop` is set."""
        lease = claimed.lease
        async with self._store.worker_unit() as unit:
            order = await unit.trainings.order(lease)
        training_folder = _TrainingFolder(self._store, self._artifacts, lease, self._folders / lease.job_id)
        if not await _retry_while_unavailable(stop, lambda: training_folder.prepare(order)):
            return WorkOutcome.STOPPED
        options = ("--threads", str(self._settings.threads))
        spec = self._spec(order)
        child = TrainingChild(training_folder.folder, spec, program=self._program, options=options)
        outcome = await child.run(_Log(self._store, lease, order), stop)
        reason = _without_paths(
            outcome.reason, {str(training_folder.folder): "the training's folder", str(spec["base"]): order.base}
        )
        return await self._handle_outcome(training_folder, replace(outcome, reason=reason), stop)

    def _spec(self, order: TrainingOrder) -> dict[str, Any]:
        base = self._settings.bases.get(order.base)
        if base is None:
            raise TrainingFailed(f"this worker has no language model {order.base!r} in ICM_TRAINING__BASES")
        path = Path(base).expanduser()
        found = str(path.absolute()) if path.exists() else base  # else a name on the hub
        return {**order.spec, "base": found, "device": self._settings.device}

    async def _handle_outcome(
        self, training_folder: "_TrainingFolder", outcome: TrainingOutcome, stop: asyncio.Event
    ) -> WorkOutcome:
        match outcome.end:
            case TrainingEnd.FINISHED:
                if await _retry_while_unavailable(stop, lambda: training_folder.finish(outcome)):
                    return WorkOutcome.SUCCEEDED
            case TrainingEnd.STOPPED:
                with suppress(ArtifactsUnavailable):  # then only this machine can resume it; another one starts anew
                    await training_folder.save()
            case TrainingEnd.FAILED:
                training_folder.clear()
                raise TrainingFailed(outcome.reason)
            case TrainingEnd.CRASHED:
                await training_folder.log_crash(outcome.reason)
                raise TrainingCrashed(outcome.reason)
        return WorkOutcome.STOPPED


class _TrainingFolder:
    """A training's folder on this machine, and its copies in the artifact store, which all workers share."""

    def __init__(self, store: Store, artifacts: Artifacts, lease: Lease, folder: Path) -> None:
        self._store = store
        self._artifacts = artifacts
        self._lease = lease
        self._id = lease.job_id
        self.folder = folder

    async def prepare(self, order: TrainingOrder) -> None:
        """Fetch the examples and models, and another worker's checkpoint if this folder has none.

        Raises TrainingFailed where a model is not where it was stored.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / EXAMPLES).exists():
            await self._artifacts.fetch(self._id, order.examples, self.folder / "rows")
            (self.folder / "rows" / EXAMPLES).rename(self.folder / EXAMPLES)
            (self.folder / "rows").rmdir()
        for model in order.models:
            await self._fetch_model(model)
        if order.checkpoint is not None and not (self.folder / OUT).exists():
            await self._artifacts.fetch(self._id, order.checkpoint, self.folder / OUT)

    async def _fetch_model(self, model: NeededModel) -> None:
        """Fetch the files of another training into a folder named by its id, in the command's layout."""
        place = self.folder / model.training_id
        artifact = place / model.manifest["artifact"]["folder"]
        if artifact.exists():
            return
        place.mkdir(exist_ok=True)
        (place / MANIFEST).write_text(json.dumps(model.manifest), "utf-8")
        try:
            await self._artifacts.fetch(model.training_id, model.sha256, artifact)
        except ArtifactMissing as error:
            raise TrainingFailed(f"the training {model.training_id} cannot be used: {error}; train it again") from error

    async def save(self) -> None:
        """Store the folder as a checkpoint, from which a worker on another machine can resume. Raises LeaseLost."""
        checkpoint = await self._artifacts.put(self._id, self.folder / OUT)
        async with self._store.worker_unit() as unit:
            await unit.trainings.save(self._lease, checkpoint)

    async def log_crash(self, reason: str) -> None:
        """Add the reason of the crash to the event log. Raises LeaseLost."""
        with suppress(StorageUnavailable):
            async with self._store.worker_unit() as unit:
                await unit.events.append(self._lease, "training.crashed", {"reason": reason})

    async def finish(self, outcome: TrainingOutcome) -> None:
        """Store the artifact, and record in one transaction with its name that the item succeeded. Raises LeaseLost."""
        if outcome.artifact is None or outcome.sha256 is None:
            raise TrainingCrashed("the training finished without an artifact")
        artifact = await self._artifacts.put(self._id, outcome.artifact)
        if artifact.sha256 != outcome.sha256:
            raise TrainingCrashed("the trained files have changed since they were written")
        manifest, report = (json.loads((self.folder / OUT / name).read_bytes()) for name in (MANIFEST, "report.json"))
        summary = {name: report["training"][name] for name in _SUMMARY_FIELDS} | {"sha256": artifact.sha256}
        async with self._store.worker_unit() as unit:
            await unit.trainings.finish(self._lease, artifact, manifest=manifest, report=report)
            await unit.work.finish(self._lease, WorkStatus.SUCCEEDED, summary=summary)
        self.clear()  # without awaiting: the lease has ended, and the next heartbeat would report it as lost

    def clear(self) -> None:
        """Remove the folder. The sweep removes the training's other artifacts."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Log:
    """Copies events of the training's process to the event log; it limits how often it writes progress."""

    def __init__(self, store: Store, lease: Lease, order: TrainingOrder) -> None:
        self._store = store
        self._lease = lease
        self._order = order
        self._progress: dict[str, Any] = {}
        self._logged_at = -PROGRESS_SECONDS

    async def __call__(self, event: TrainingEvent) -> None:
        """Log an event, or drop it while the database is unavailable. Raises LeaseLost."""
        with suppress(StorageUnavailable):
            match event.name:
                case "rows":
                    await self._append("training.rows", event.facts)
                    await self._compare(event.facts.get("base"))
                case "evaluation" | "ended_early":
                    await self._append(f"training.{event.name}", event.facts)
                case "start":
                    self._progress = dict(event.facts)
                case "step":
                    self._progress |= event.facts
                    await self._log_progress()
                case "checkpoint":
                    await self._save(event.facts)

    async def _compare(self, base: object) -> None:
        """Warn if a language model other than the base labelled the jobs, as far as that is known."""
        if not isinstance(base, Mapping):
            return
        revision = base.get("revision")
        identity = BaseIdentity(str(base.get("name")), str(base.get("fingerprint")), revision and str(revision))
        for warning in warnings_of_base(self._order.labelled_by, self._order.base, identity):
            async with self._store.worker_unit() as unit:
                await unit.work.warn(self._lease, warning)

    async def _log_progress(self) -> None:
        now = time.monotonic()
        if now - self._logged_at >= PROGRESS_SECONDS:
            self._logged_at = now
            async with self._store.worker_unit() as unit:
                await unit.trainings.progress(self._lease, self._progress)
                await unit.events.append(self._lease, "training.progress", self._progress)

    async def _append(self, event_type: str, facts: Mapping[str, Any]) -> None:
        async with self._store.worker_unit() as unit:
            await unit.events.append(self._lease, event_type, facts)

    async def _save(self, facts: Mapping[str, Any]) -> None:
        """Save the work item after a new checkpoint, which resets its count of crashes."""
        async with self._store.worker_unit() as unit:
            await unit.trainings.progress(self._lease, self._progress)
            await unit.work.save(self._lease, orjson.dumps(dict(facts)))


async def _retry_while_unavailable(stop: asyncio.Event, work: Callable[[], Awaitable[None]]) -> bool:
    """Retry `work` until the artifact store is available; False if the worker must release the item before that."""
    while not stop.is_set():
        try:
            await work()
        except ArtifactsUnavailable as error:
            logger.warning("the training waits", reason=str(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RETRY_SECONDS)
        else:
            return True
    return False


def _without_paths(reason: str, names: Mapping[str, str]) -> str:
    """The reason with names in place of paths, since users must not see paths of this machine."""
    for path, name in names.items():
        reason = reason.replace(path, name)
    return reason
