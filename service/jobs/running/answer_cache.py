"""Scores the prompts of a search: from the answer memory if possible, otherwise by the backend.

It stores the backend's answers and their cost, under the lease, before it returns them to the search. So a search
depends on stored answers alone, and a worker that repeats an interrupted step gets the same answers at no cost. If
another worker has stored an answer to the same prompt before, that one is used.
"""

import asyncio
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from service.errors import BackendRefused, BackendUnavailable
from service.identifiers import Row
from service.jobs.running.backend import PinnedBackend
from service.jobs.running.isolation import FATAL, Isolation, RowsUnscorable, TooManyUnscorable, max_unscorable
from service.jobs.running.search_pace import PaceOfSearch
from service.jobs.running.server_crashes import SPREAD, ServerCrashes
from service.ports.observers import UNOBSERVED, WorkObserver
from service.ports.scoring import Scorer
from service.ports.store import Store
from service.records.jobs import ClaimedShard
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage
from service.search.prompting.recall import Answers, KeyedRequest, PromptKey, answered, by_key, keyed, unanswered
from service.search.state.steps import Answer

MAX_ANSWERS = 2_000_000
CACHED_ANSWERS = 20_000  # kept in this process for one run of a shard; they take a few megabytes
_EVICTION_SHARE = 20  # the memory evicts answers whenever 1 / 20 of its size has been added
_EVICTION_BATCH = 5_000  # in one transaction, so that nobody waits for it


@dataclass
class Memory:
    """The size of the answer memory, and its eviction; one for all shards of a worker."""

    store: Store
    max_answers: int = MAX_ANSWERS  # 0 stores no answers
    _added: float = math.inf  # since the last eviction; unknown at first

    async def evict_old(self, added: int) -> None:
        """Count `added` answers since the last call; now and then evict the oldest answers beyond the limit."""
        self._added += added
        if self._added * _EVICTION_SHARE < self.max_answers:
            return
        async with self.store.worker_unit() as unit:
            last = await unit.answers.last_to_evict(self.max_answers)
        evicted = _EVICTION_BATCH
        while last is not None and evicted == _EVICTION_BATCH:
            async with self.store.worker_unit() as unit:
                evicted = await unit.answers.evict(last, at_most=_EVICTION_BATCH)
        self._added = 0


@dataclass(frozen=True)
class RecalledRequest:
    """A search's request, with its stored answers and the part that the backend must answer."""

    request: KeyedRequest
    answers: dict[PromptKey, LogProbabilities]
    open: Sequence[KeyedRequest]


class CachedScorer:
    """Scores the prompts of one shard and counts their cost.

    It stores answers every `store_seconds` while it awaits others, and before it returns them.
    """

    def __init__(
        self,
        store: Store,
        scorer: Scorer,
        claimed: ClaimedShard,
        backend: PinnedBackend,
        *,
        memory: Memory,
        store_seconds: float,
        observer: WorkObserver = UNOBSERVED,
    ) -> None:
        self._store = store
        self._scorer = scorer
        self._claimed, self._task = claimed, claimed.config.task
        self.left_out = 0  # rows of the shard that the backend cannot score
        self.pace: PaceOfSearch | None = None  # of the search that asks
        self._observer = observer
        self._backend = backend
        self._memory = memory
        self._store_seconds = store_seconds
        progress = claimed.progress
        self.usage = Usage(progress.prompts, progress.tokens_sent, progress.tokens_computed, claimed.modelled)
        self.remembered = claimed.remembered
        self._crashes = ServerCrashes.stored(claimed.server_crashes)
        self._recent = _RecentAnswers()
        self._unstored = _Unstored()
        self._store_at = time.monotonic() + store_seconds

    async def recall(self, trees: Sequence[PromptTree]) -> RecalledRequest:
        """Look up the stored answers to a request. Raises StorageUnavailable."""
        request = await asyncio.to_thread(
            keyed,
            trees,
            self._task.labels,
            project=self._claimed.project,
            all_spellings=self._task.all_spellings,
            separator=self._task.separator,
        )
        answers = await self.remembered_answers(request.distinct_keys)
        return RecalledRequest(request, answers, await asyncio.to_thread(unanswered, request, answers))

    async def remembered_answers(self, keys: set[PromptKey]) -> dict[PromptKey, LogProbabilities]:
        """The stored answers to these keys, from this process's cache or the store. Raises StorageUnavailable."""
        if not self._memory.max_answers:
            return {}
        answers = self._recent.of(keys)
        if len(answers) < len(keys):
            async with self._store.worker_unit() as unit:
                stored = await unit.answers.recall(self._backend.known.id, keys - answers.keys())
            self._recent.add(stored)
            answers |= stored
        return answers

    async def answer(self, recalled: RecalledRequest) -> Answer:
        """Score the missing prompts and store the answers; returns the answers to all trees.

        Raises BackendError, LeaseLost and StorageUnavailable; RowsUnscorable if the backend cannot score a few rows,
        after storing all other answers; TooManyUnscorable if it is more than a few.
        """
        unanswered = sum(request.prompts for request in recalled.open)
        self.count_remembered(recalled.request.prompts - unanswered)
        if self.pace is not None:
            self.pace.begin(recalled.request.prompts - unanswered, unanswered)
        most, keys = max_unscorable(self._claimed.rows) - self.left_out, recalled.request.distinct_keys
        self._refuse_many_fatal(keys, most)
        has_died = bool(self._crashes.suspects(keys))
        isolation = Isolation(self._scored, most=most, crashes=self._crashes, has_died=has_died)
        tasks = {asyncio.create_task(self._score(request, isolation)) for request in recalled.open}
        try:
            await self._store_while(tasks, recalled)
        except BackendUnavailable:  # the answers are unchecked, and the backend may return changed: store the cost only
            await self.store({}, self._take().usage)
            await self._store_crashes()
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if isolation.reasons:
            raise RowsUnscorable(isolation.reasons)
        self._crashes.acquit(keys)
        return answered(recalled.request, recalled.answers)

    def _refuse_many_fatal(self, keys: set[PromptKey], most: int) -> None:
        """Raise TooManyUnscorable if the server crashed on more single prompts than a few rows can explain."""
        if self._crashes.accused(keys) > max(most, SPREAD):
            raise TooManyUnscorable(BackendRefused(FATAL))

    async def _store_crashes(self) -> None:
        if self._crashes.counts:
            async with self._store.worker_unit() as unit:
                await unit.shards.note_server_crashes(self._claimed.lease, self._crashes.to_json())

    def count_remembered(self, prompts: int) -> None:
        """Count prompts that the answer memory answered."""
        self.remembered += prompts
        self._observer.recalled(self._claimed.backend, prompts)

    async def _store_while(self, tasks: "Collection[asyncio.Task[None]]", recalled: RecalledRequest) -> None:
        """Store answers at intervals while they arrive, and the last ones at the end."""
        under_way = set(tasks)
        while under_way:
            timeout = max(0.0, self._store_at - time.monotonic()) if self._unstored.answers else None
            done, under_way = await asyncio.wait(under_way, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if time.monotonic() >= self._store_at or not under_way:
                await self._store_answers(recalled)

    async def _score(self, request: KeyedRequest, isolation: Isolation) -> None:
        for tree, keys in zip(request.trees, request.keys, strict=True):

            def collect(scores: TreeScores, keys: Mapping[Row, PromptKey] = keys) -> None:
                known = {row: key for row, key in keys.items() if row in scores.log_probabilities}
                self._unstored = self._unstored.with_scores(by_key(known, scores), scores.usage)
                if self.pace is not None:
                    self.pace.scored(len(known), scores.usage.prompts)

            await isolation.scored(tree, keys, collect)

    async def _scored(self, tree: PromptTree) -> TreeScores:
        return await self._scorer.score(
            tree, self._task.labels, all_spellings=self._task.all_spellings, separator=self._task.separator
        )

    async def _store_answers(self, recalled: RecalledRequest) -> None:
        """Store the answers since the last call, if the backend is still the same.

        Answers that arrive during that check wait for the next call.
        """
        unstored = self._take()
        if unstored.answers:
            try:
                await self._backend.check()
            except BackendUnavailable:
                self._unstored = self._unstored.with_scores({}, unstored.usage)
                raise
            recalled.answers.update(await self.store(unstored.answers, unstored.usage))
        self._store_at = time.monotonic() + self._store_seconds

    def _take(self) -> "_Unstored":
        taken, self._unstored = self._unstored, _Unstored()
        return taken

    async def store(self, answers: Answers, cost: Usage) -> Answers:
        """Store answers and their cost in one transaction; returns the valid answers. Raises LeaseLost."""
        usage = self.usage + cost
        async with self._store.worker_unit() as unit:
            if self._memory.max_answers:
                answers = await unit.answers.record(self._claimed.lease, self._backend.known.id, answers)
            if self.pace is not None and (pace := self.pace.measured) is not None:
                await unit.shards.set_pace(self._claimed.lease, pace)
            await unit.shards.spend(self._claimed.lease, usage, remembered=self.remembered)
        self.usage = usage
        self._observer.scored(self._claimed.backend, cost)
        if self._memory.max_answers:
            self._recent.add(answers)
            await self._memory.evict_old(len(answers))
        return answers


class _RecentAnswers:
    """The latest answers that a run has stored or recalled."""

    def __init__(self) -> None:
        self._answers: dict[PromptKey, LogProbabilities] = {}

    def of(self, keys: set[PromptKey]) -> dict[PromptKey, LogProbabilities]:
        """The cached answers to these prompts."""
        return {key: self._answers[key] for key in keys if key in self._answers}

    def add(self, answers: Answers) -> None:
        """Cache these answers, and evict the oldest beyond the limit."""
        self._answers.update(answers)
        for key in list(islice(self._answers, max(0, len(self._answers) - CACHED_ANSWERS))):
            del self._answers[key]


@dataclass(frozen=True)
class _Unstored:
    """Answers that are not stored yet, and their cost."""

    answers: dict[PromptKey, LogProbabilities] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    def with_scores(self, answers: Answers, usage: Usage) -> "_Unstored":
        """These answers and costs, and more."""
        return _Unstored({**self.answers, **answers}, self.usage + usage)
