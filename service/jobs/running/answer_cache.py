"""Answers what a search asks: from memory where that is possible, else by the backend.

What the backend says is stored before the search is told, together with what it has cost and
under the lease's fence. So a step that was cut off is taken again with the same answers, at no
cost, and a search depends on nothing but the answers that are stored: where another worker has
stored an answer to the same prompt before, that one counts.
"""

import asyncio
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from service.errors import BackendRefused, BackendUnavailable
from service.identifiers import Row
from service.jobs.running.backend import SameBackend
from service.jobs.running.isolation import FATAL, Isolation, RowsUnscorable, TooManyUnscorable, most_unscorable
from service.jobs.running.server_crashes import SPREAD, ServerCrashes
from service.ports.observers import UNOBSERVED, WorkObserver
from service.ports.scoring import Scorer
from service.ports.store import Store
from service.records.jobs import ClaimedShard
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage
from service.search.prompting.recall import Answers, KeyedRequest, PromptKey, answered, by_key, keyed, unanswered
from service.search.state.steps import Answer

MAX_ANSWERS = 2_000_000
KEPT_ANSWERS = 20_000  # by one run of a shard in its own memory; they take a few megabytes
_TIDY_SHARE = 20  # memory is tidied up whenever this part of what it may hold has been added
_FORGOTTEN_AT_ONCE = 5_000  # in one transaction, so that nobody waits for it


@dataclass
class Memory:
    """How much of what backends have answered is remembered; one for all shards of a worker."""

    store: Store
    max_answers: int = MAX_ANSWERS  # 0: nothing is remembered
    _added: float = math.inf  # since it was tidied up; unknown at first

    async def tidy(self, added: int) -> None:
        """Drop the oldest answers beyond the bound, now and then; so many were added since the last call."""
        self._added += added
        if self._added * _TIDY_SHARE < self.max_answers:
            return
        async with self.store.worker_unit() as unit:
            last = await unit.answers.last_to_evict(self.max_answers)
        forgotten = _FORGOTTEN_AT_ONCE
        while last is not None and forgotten == _FORGOTTEN_AT_ONCE:
            async with self.store.worker_unit() as unit:
                forgotten = await unit.answers.evict(last, at_most=_FORGOTTEN_AT_ONCE)
        self._added = 0


@dataclass(frozen=True)
class Question:
    """What a search asks, what is known of it, and what must be asked."""

    request: KeyedRequest
    answers: dict[PromptKey, LogProbabilities]
    open: Sequence[KeyedRequest]


class CachedScorer:
    """Asks for one shard and counts what that costs.

    Answers are stored at most every `store_seconds` while others are awaited, and before the
    search is told.
    """

    def __init__(
        self,
        store: Store,
        scorer: Scorer,
        claimed: ClaimedShard,
        backend: SameBackend,
        *,
        memory: Memory,
        store_seconds: float,
        observer: WorkObserver = UNOBSERVED,
    ) -> None:
        self._store = store
        self._scorer = scorer
        self._lease = claimed.lease
        self._rows = claimed.rows
        self.left_out = 0  # rows of the shard that the backend has no scores for
        self._project = claimed.project
        self._backend_name = claimed.backend
        self._observer = observer
        self._labels = tuple(claimed.config.task.labels)
        self._all_spellings = claimed.config.task.all_spellings
        self._separator = claimed.config.task.separator
        self._backend = backend
        self._memory = memory
        self._store_seconds = store_seconds
        progress = claimed.progress
        self.usage = Usage(progress.prompts, progress.tokens_sent, progress.tokens_computed, claimed.modelled)
        self.remembered = claimed.remembered
        self._crashes = ServerCrashes.stored(claimed.server_crashes)
        self._kept = _Kept()
        self._fresh = _Fresh()
        self._store_at = time.monotonic() + store_seconds

    async def recall(self, trees: Sequence[PromptTree]) -> Question:
        """The question with what is remembered of its answers. Raises StorageUnavailable."""
        request = await asyncio.to_thread(
            keyed,
            trees,
            self._labels,
            project=self._project,
            all_spellings=self._all_spellings,
            separator=self._separator,
        )
        answers = await self.remembered_answers(request.distinct_keys)
        return Question(request, answers, await asyncio.to_thread(unanswered, request, answers))

    async def remembered_answers(self, keys: set[PromptKey]) -> dict[PromptKey, LogProbabilities]:
        """Those of the answers that are stored; a search comes back to most prompts, which are kept here.

        Raises StorageUnavailable.
        """
        if not self._memory.max_answers:
            return {}
        answers = self._kept.of(keys)
        if len(answers) < len(keys):
            async with self._store.worker_unit() as unit:
                stored = await unit.answers.recall(self._backend.id, keys - answers.keys())
            self._kept.add(stored)
            answers |= stored
        return answers

    async def answer(self, question: Question) -> Answer:
        """The answers to all trees, every one of them stored.

        Raises BackendError, LeaseLost and StorageUnavailable; RowsUnscorable where a few rows have no answer and all
        others have, which are stored, and TooManyUnscorable where it is more than a few.
        """
        self.note_remembered(question.request.prompts - sum(asked.prompts for asked in question.open))
        most, keys = most_unscorable(self._rows) - self.left_out, question.request.distinct_keys
        self._refuse_many_fatal(keys, most)
        has_died = bool(self._crashes.suspects(keys))
        isolation = Isolation(self._scored, most=most, crashes=self._crashes, has_died=has_died)
        tasks = {asyncio.create_task(self._score(asked, isolation)) for asked in question.open}
        try:
            await self._store_while(tasks, question)
        except BackendUnavailable:  # who knows what the backend is when it is back; only the cost is sure
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
        return answered(question.request, question.answers)

    def _refuse_many_fatal(self, keys: set[PromptKey], most: int) -> None:
        """Refuse to ask where the server crashed on so many single prompts that it is not the fault of a row.

        Raises TooManyUnscorable.
        """
        if self._crashes.accused(keys) > max(most, SPREAD):
            raise TooManyUnscorable(BackendRefused(FATAL))

    async def _store_crashes(self) -> None:
        if self._crashes.counts:
            async with self._store.worker_unit() as unit:
                await unit.shards.note_server_crashes(self._lease, self._crashes.to_json())

    def note_remembered(self, prompts: int) -> None:
        """Count prompts that were answered from memory."""
        self.remembered += prompts
        self._observer.recalled(self._backend_name, prompts)

    async def _store_while(self, tasks: "Collection[asyncio.Task[None]]", question: Question) -> None:
        """Store answers now and then while they come in, the last ones at the end."""
        under_way = set(tasks)
        while under_way:
            timeout = max(0.0, self._store_at - time.monotonic()) if self._fresh.answers else None
            done, under_way = await asyncio.wait(under_way, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if time.monotonic() >= self._store_at or not under_way:
                await self._store_answers(question)

    async def _score(self, asked: KeyedRequest, isolation: Isolation) -> None:
        for tree, keys in zip(asked.trees, asked.keys, strict=True):

            def took(scores: TreeScores, keys: Mapping[Row, PromptKey] = keys) -> None:
                known = {row: key for row, key in keys.items() if row in scores.log_probabilities}
                self._fresh = self._fresh.with_scores(by_key(known, scores), scores.usage)

            await isolation.scored(tree, keys, took)

    async def _scored(self, tree: PromptTree) -> TreeScores:
        return await self._scorer.score(
            tree, self._labels, all_spellings=self._all_spellings, separator=self._separator
        )

    async def _store_answers(self, question: Question) -> None:
        """Store what was answered since the last time, if the backend is still the same.

        What is answered while it is checked is left for the next time.
        """
        fresh = self._take()
        if fresh.answers:
            try:
                await self._backend.check()
            except BackendUnavailable:
                self._fresh = self._fresh.with_scores({}, fresh.usage)
                raise
            question.answers.update(await self.store(fresh.answers, fresh.usage))
        self._store_at = time.monotonic() + self._store_seconds

    def _take(self) -> "_Fresh":
        taken, self._fresh = self._fresh, _Fresh()
        return taken

    async def store(self, answers: Answers, cost: Usage) -> Answers:
        """Store answers and what they have cost, in one transaction; the answers that count.

        Raises LeaseLost and StorageUnavailable.
        """
        usage = self.usage + cost
        async with self._store.worker_unit() as unit:
            if self._memory.max_answers:
                answers = await unit.answers.record(self._lease, self._backend.id, answers)
            await unit.shards.spend(self._lease, usage, remembered=self.remembered)
        self.usage = usage
        self._observer.asked(self._backend_name, cost)
        if self._memory.max_answers:
            self._kept.add(answers)
            await self._memory.tidy(len(answers))
        return answers


class _Kept:
    """The latest answers that a run has stored or found stored."""

    def __init__(self) -> None:
        self._answers: dict[PromptKey, LogProbabilities] = {}

    def of(self, keys: set[PromptKey]) -> dict[PromptKey, LogProbabilities]:
        """Those that are kept of the answers to these prompts."""
        return {key: self._answers[key] for key in keys if key in self._answers}

    def add(self, answers: Answers) -> None:
        """Keep these, and drop the oldest where they are too many."""
        self._answers.update(answers)
        for key in list(islice(self._answers, max(0, len(self._answers) - KEPT_ANSWERS))):
            del self._answers[key]


@dataclass(frozen=True)
class _Fresh:
    """Answers that are not stored yet, and what they have cost."""

    answers: dict[PromptKey, LogProbabilities] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)

    def with_scores(self, answers: Answers, usage: Usage) -> "_Fresh":
        """These and more."""
        return _Fresh({**self.answers, **answers}, self.usage + usage)
