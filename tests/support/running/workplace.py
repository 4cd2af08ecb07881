"""A worker with its store and a backend that a test controls."""

import asyncio
import copy
from collections.abc import Callable, Sequence

from service.bootstrap import Application, build_application
from service.errors import BackendError, BackendUnavailable
from service.identifiers import JobId, WorkerId
from service.ports.store import Store
from service.records.jobs import Job
from service.records.scoring import BackendIdentity
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from service.settings import QueueSettings, Settings
from tests.support.memory import MemoryStore
from tests.support.stored import job
from tests.support.stores import Clock, ScratchStore
from workers.worker import Worker

LEASE_SECONDS = 1.5


class Backend(DeterministicScorer):
    """The deterministic scorer, which a test can make fail, wait or change its identity."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.identity = BackendIdentity("deterministic", (-0.5, -1.5))
        self.faulty = dict[str, BackendError]()  # raised for prompts that contain this text
        self.calls = 0
        self.at_call = dict[int, Callable[[], None]]()  # called just before the n-th call
        self.asked = asyncio.Event()
        self.answering = asyncio.Event()
        self.answering.set()

    async def identify(self) -> BackendIdentity:
        if isinstance(self.failure, BackendUnavailable):
            raise self.failure
        return self.identity

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        self.asked.set()
        self.calls += 1
        if happens := self.at_call.get(self.calls):
            happens()
        await self.answering.wait()
        if self.failure is not None:
            raise self.failure
        for row, prompt in tree.prompts():
            for text, error in self.faulty.items():
                if text in prompt:
                    failure = copy.copy(error)
                    failure.row = row
                    raise failure
        return await super().score(tree, labels)


class AnyWorkplace:
    """A worker with its store and backend."""

    store: Store

    def __init__(self, store: Store, clock: Clock, backend: Backend | None = None) -> None:
        self.store, self.clock = store, clock
        self.backend = backend or Backend()
        queue = QueueSettings(lease_seconds=LEASE_SECONDS, poll_seconds=0.01, checkpoint_seconds=0.0)
        wired = build_application(Settings(queue=queue), store=self.store)
        scorers = ConfiguredScorers({"default": self.backend})
        self.application = Application(wired.settings, self.store, scorers)
        self.worker = self.another_worker("worker")

    def another_worker(self, name: str) -> Worker:
        return Worker(self.application, WorkerId(name))

    async def job(self, job_id: JobId) -> Job:
        return await job(self.store, job_id)


class Workplace(AnyWorkplace):
    """A worker with an in-memory store."""

    store: MemoryStore

    def __init__(self, backend: Backend | None = None) -> None:
        clock = Clock()
        super().__init__(MemoryStore(max_crashes=3, now=clock.now), clock, backend)


class Workshop(AnyWorkplace):
    """A worker on Postgres, for several projects."""

    def __init__(self) -> None:
        clock = Clock()
        super().__init__(ScratchStore(max_crashes=3, now=clock.now), clock)
