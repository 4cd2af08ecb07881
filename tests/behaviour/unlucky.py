"""Workers that die at a chosen moment, with backends that never give the same answer twice."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from api.labelling.configuration import parse_config
from service.access.caller_store import CallerStore
from service.identifiers import JobId
from service.intake.bounds.limits import Limits
from service.intake.sources import InlineSource
from service.jobs.running.answer_cache import Memory
from service.jobs.running.run import run_shard
from service.jobs.submission.submit import submit
from service.ports.store import Store, WorkerUnit
from service.records.access import LOCAL_CALLER, Caller
from service.records.jobs import Job
from service.records.labels import LabelState
from service.records.scoring import BackendIdentity
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from tests.long import LONG
from tests.support.forwarding import ForwardingStore
from tests.support.stored import NO_TIME, claim

LIMITS = Limits(max_bytes=1_000_000, max_rows=1_000, max_row_bytes=64_000)
SMALL_SEARCH = {"initial_rows": 4, "restarts": 1, "sweeps": 1, "folds": 2}


class Killed(Exception):
    """The worker died."""


class NoisyScorer(DeterministicScorer):
    """The deterministic scorer with a little noise in every answer; it records its prompts."""

    def __init__(
        self,
        name: str,
        *,
        seed: int = 0,
        nats: float = 0.5,
        fatal_call: int | None = None,
        meeting: asyncio.Barrier | None = None,
        last_call: int | None = None,
    ) -> None:
        super().__init__()
        self._identity = BackendIdentity(name)
        self._noise = Random(f"{name} {seed}")
        self._nats = nats
        self._fatal_call = fatal_call
        self._meeting = meeting  # tasks to wait for before the first answer
        self._last_call = last_call
        self.stop = asyncio.Event()  # set with the last call, so that the worker stops
        self.calls = 0
        self.asked = list[str]()

    async def identify(self) -> BackendIdentity:
        return self._identity

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        self.calls += 1
        if self.calls == self._fatal_call:
            raise Killed
        if self.calls == self._last_call:
            self.stop.set()
        if self._meeting is not None:
            meeting, self._meeting = self._meeting, None
            await meeting.wait()
        scores = await super().score(tree, labels)
        self.asked += [prompt for _, prompt in tree.prompts()]
        shaken = {
            row: tuple(value - self._nats * self._noise.random() for value in values)
            for row, values in scores.log_probabilities.items()
        }
        return TreeScores(shaken, scores.usage)


class SilentScorer(NoisyScorer):
    """A scorer that identifies itself and answers no prompt."""

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        raise AssertionError(f"asked for {[prompt for _, prompt in tree.prompts()]}")


class UnluckyStore(ForwardingStore):
    """A store whose worker dies in its n-th unit of work, before or after its commit."""

    def __init__(self, store: Store, *, fatal: int | None, committed: bool) -> None:
        super().__init__(store)
        self._fatal = fatal
        self._committed = committed
        self.units = 0

    @asynccontextmanager
    async def worker_unit(self) -> AsyncIterator[WorkerUnit]:
        self.units += 1
        dies = self.units == self._fatal
        if dies and not self._committed:
            raise Killed
        async with self._store.worker_unit() as unit:
            yield unit
        if dies:
            raise Killed


@dataclass
class Trial:
    """A job on its own backend, run by one worker after the other."""

    store: Store
    backend: str
    limits: Mapping[str, Any] = field(default_factory=dict)
    nats: float = 0.5
    asked: list[str] = field(default_factory=list)
    workers: int = 0
    caller: Caller = LOCAL_CALLER

    async def submitted(self) -> JobId:
        """Queue a job of 8 rows in pairs."""
        relation = {"kind": "exactly_one", "group": "question"}
        task = {"template": "{text}", "relations": [relation]}
        config = parse_config({"task": task, "search": SMALL_SEARCH, "limits": self.limits})
        rows = [{"text": f"claim {number}", "question": number // 2} for number in range(8)]
        scorers = ConfiguredScorers({"default": NoisyScorer(self.backend)})
        source = InlineSource(rows, LIMITS)
        project_store = CallerStore(self.store, self.caller)
        receipt = await submit(config, source, project_store, scorers, idempotency_key=None)
        return receipt.job.id

    async def ended(self, job_id: JobId, **moment: Any) -> tuple[Job, list[LabelState]]:
        """The end of the job if its first worker dies at this moment and its second does not."""
        if await self.killed(**moment) and not (await self.job(job_id)).status.is_final:
            assert not await self.killed()
        return await self.job(job_id), await self.labels(job_id)

    async def killed(self, *, unit: int | None = None, committed: bool = False, call: int | None = None) -> bool:
        """Run a worker that dies at its n-th unit of work or call; returns False if it ends before."""
        store = UnluckyStore(self.store, fatal=unit, committed=committed)
        self.workers += 1
        scorer = NoisyScorer(self.backend, seed=self.workers, nats=self.nats, fatal_call=call)
        try:
            await self.run(store, scorer)
        except Killed:
            return True
        finally:
            self.asked += scorer.asked
        return False

    async def run(
        self, store: Store, scorer: NoisyScorer, memory: Memory | None = None, *, lease_seconds: float = NO_TIME
    ) -> None:
        """Run a worker whose lease has expired from the start, so that another can take over."""
        shard = await claim(self.store, lease_seconds=lease_seconds)
        assert shard is not None
        await run_shard(store, scorer, shard, checkpoint_seconds=0.0, stop=scorer.stop, memory=memory)

    async def labels(self, job_id: JobId) -> list[LabelState]:
        """Every row's label state."""
        async with self.store.project_unit(self.caller) as unit:
            return [row.state async for row in unit.labels.result(job_id)]

    async def job(self, job_id: JobId) -> Job:
        """The job as it is now."""
        async with self.store.project_unit(self.caller) as unit:
            return await unit.jobs.get(job_id)

    async def by_heart(self) -> tuple[Job, list[LabelState]]:
        """The result of the same job from the stored answers alone."""
        job_id = await self.submitted()
        await self.run(self.store, SilentScorer(self.backend))
        return await self.job(job_id), await self.labels(job_id)


def moments(count: int) -> Sequence[int]:
    """A few of the first `count` moments."""
    return range(1, count + 1, 13 if LONG else 34)
