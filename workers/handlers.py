"""The registry of kinds of work: a handler for each kind of work item, and periodic tasks of some kinds."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from service.bootstrap import Application, build_sender
from service.jobs.models import scorer_of
from service.jobs.running.answer_cache import Memory
from service.jobs.running.rewards import run_rewarded_shard
from service.jobs.running.run import run_shard
from service.ports.observers import WorkObserver
from service.records.access import Quotas
from service.records.jobs import ClaimedShard
from service.records.work import ClaimedWork, WorkKind, WorkOutcome
from service.spans import annotate
from service.training_process.installed import can_train
from workers.artifacts import ArtifactCleaning
from workers.dispatch import WebhookDispatch
from workers.periodic_tasks import PeriodicTask
from workers.training import TrainHandler


class Handler(Protocol):
    """Does the work items of one kind."""

    async def run(self, claimed: ClaimedWork, stop: asyncio.Event) -> WorkOutcome:
        """Work on the item until it is done or `stop` is set.

        The handler writes under the item's lease. It records a success together with its results; the worker records
        every other end. Raises LeaseLost and StorageUnavailable; BackendUnavailable and QuotaExhausted if the job has
        to wait; any other ServiceError if the item can never succeed.
        """


class LabelHandler:
    """Searches for the labels of shards."""

    def __init__(self, application: Application, observer: WorkObserver) -> None:
        self._application = application
        self._observer = observer
        self._quotas = Quotas(**application.settings.quota.model_dump())
        self._memory = Memory(application.store, application.settings.memory.max_answers)

    async def run(self, claimed: ClaimedWork, stop: asyncio.Event) -> WorkOutcome:
        """Search for the labels of the item's shard."""
        store = self._application.store
        async with store.worker_unit() as unit:
            shard = await unit.shards.of(claimed)
        if shard.config.method.asks_rewards:
            return await self._ask_reward_model(shard, stop)
        annotate({"icm.data.rows": shard.rows, "icm.backend": shard.backend})
        return await run_shard(
            store,
            scorer_of(shard, self._application.scorers),
            shard,
            checkpoint_seconds=self._application.settings.queue.checkpoint_seconds,
            stop=stop,
            memory=self._memory,
            trainer=None if shard.adapter else self._application.scorers.trainer(shard.config.model),
            observer=self._observer,
            quotas=self._quotas,
        )

    async def _ask_reward_model(self, shard: ClaimedShard, stop: asyncio.Event) -> WorkOutcome:
        annotate({"icm.data.rows": shard.rows})
        return await run_rewarded_shard(
            self._application.store,
            self._application.scorers.rewards,
            shard,
            checkpoint_seconds=self._application.settings.queue.checkpoint_seconds,
            stop=stop,
            observer=self._observer,
            quotas=self._quotas,
        )


def _dispatch(application: Application) -> PeriodicTask:
    settings = application.settings
    return WebhookDispatch(application.store, build_sender(settings), settings.webhooks)


def _cleaning(application: Application) -> PeriodicTask:
    settings, copies = application.settings, application.copied_adapters
    return ArtifactCleaning(application.store, application.artifacts, settings.training_folder, copies)


# Kinds with items in the lease queue, and kinds with a periodic task.
HANDLERS: Mapping[WorkKind, Callable[[Application, WorkObserver], Handler]] = {
    WorkKind.LABEL: LabelHandler,
    WorkKind.TRAIN: TrainHandler,
}
PERIODIC_TASKS: Mapping[WorkKind, Callable[[Application], PeriodicTask]] = {
    WorkKind.DELIVER: _dispatch,
    WorkKind.TRAIN: _cleaning,
}


def all_kinds() -> tuple[WorkKind, ...]:
    """The kinds of work that this installation can do."""
    return tuple(kind for kind in WorkKind if kind is not WorkKind.TRAIN or can_train())
