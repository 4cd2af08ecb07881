"""Stored identities and answers of backends: the first answer to a prompt is the one that counts."""

import asyncio
import math
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from random import Random

import pytest

from service.identifiers import BackendId
from service.jobs.running import answer_cache
from service.jobs.running.answer_cache import CachedScorer, Memory
from service.jobs.running.backend import PinnedBackend
from service.jobs.running.search_pace import PaceOfSearch
from service.ports.store import Store, WorkerUnit
from service.records.access import LOCAL_CALLER
from service.records.jobs import ClaimedShard, KnownBackend, Progress
from service.records.scoring import BackendIdentity
from service.scoring.deterministic import DeterministicScorer
from service.search.engine import Search
from service.search.predictions.prompt_tree import LogProbabilities, Usage
from service.search.prompting.recall import KEY_BYTES, PromptKey
from service.search.strategies.baselines import ZeroShot
from service.search.strategies.queries_left import ASKED_ONCE
from tests.behaviour.unlucky import NoisyScorer, SilentScorer, Trial, UnluckyStore
from tests.support.stored import ALICE, BOB, LONG, NO_TIME, claimed, job, queued, release, save, spend
from tests.toy import ToyWorld

Answers = dict[PromptKey, LogProbabilities]
BACKEND, OTHER = BackendId(1), BackendId(2)
SMALL = BackendIdentity("embedded|small|1|0.3", (-0.5, -1.5))
HALF_PRECISION = BackendIdentity("embedded|small|1|0.3", (-0.52, -1.46))
RETRAINED = BackendIdentity("embedded|small|1|0.3", (-0.5, -4.5))
LARGE = BackendIdentity("vllm|large|1|0.9")


def key(number: int) -> PromptKey:
    return PromptKey(number.to_bytes(KEY_BYTES, "big"))


def some(*numbers: int, nats: float = -0.1) -> Answers:
    return {key(number): (nats, nats * number) for number in numbers}


async def record(store: Store, shard: ClaimedShard, answers: Answers, backend: BackendId = BACKEND) -> Answers:
    async with store.worker_unit() as unit:
        return await unit.answers.record(shard.lease, backend, answers)


async def recall(store: Store, *numbers: int, backend: BackendId = BACKEND) -> Answers:
    async with store.worker_unit() as unit:
        return await unit.answers.recall(backend, [key(number) for number in numbers])


async def recognized(store: Store, identity: BackendIdentity) -> BackendId:
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.backends.recognized(identity)


async def of_job(store: Store, shard: ClaimedShard, measured: BackendIdentity) -> KnownBackend:
    async with store.worker_unit() as unit:
        return await unit.backends.of_job(shard.lease, measured)


async def test_an_answer_comes_back_to_the_last_bit(store: Store) -> None:
    await queued(store)
    shard = await claimed(store)
    answers: Answers = {
        key(1): (-1 / 3, -math.pi, -1e-300),
        key(2): (-0.0, -math.inf, -123456.789),
        PromptKey(bytes(range(16))): (math.nextafter(-1.0, 0.0),),
    }
    assert await record(store, shard, answers) == answers
    async with store.worker_unit() as unit:
        assert await unit.answers.recall(BACKEND, [*answers, key(3)]) == answers


async def test_nothing_is_remembered_of_prompts_that_were_not_asked(store: Store) -> None:
    await queued(store)
    await record(store, await claimed(store), some(1, 2))
    assert await recall(store, 2, 3) == some(2)
    assert await recall(store) == {}


async def test_the_answer_recorded_first_stays_valid(store: Store) -> None:
    await queued(store, 1, 1)
    first, second = await claimed(store, ALICE), await claimed(store, BOB)
    await record(store, first, some(1, 2, nats=-0.1))
    assert await record(store, second, some(2, 3, nats=-0.9)) == some(2, nats=-0.1) | some(3, nats=-0.9)
    assert await recall(store, 1, 2, 3) == some(1, 2, nats=-0.1) | some(3, nats=-0.9)


async def test_workers_who_record_the_same_prompts_at_once_end_up_with_the_same_answers(store: Store) -> None:
    await queued(store, *[1] * 6)
    shards = [await claimed(store) for _ in range(6)]
    numbers = list(range(400))

    async def in_some_order(worker: int) -> Answers:
        shuffled = Random(worker).sample(numbers, len(numbers))
        return await record(store, shards[worker], some(*shuffled, nats=-float(worker + 1)))

    first, *others = await asyncio.gather(*map(in_some_order, range(6)))
    assert all(answers == first for answers in others)
    assert await recall(store, *numbers) == first


async def test_answers_of_two_backends_are_never_mixed(store: Store) -> None:
    await queued(store)
    shard = await claimed(store)
    await record(store, shard, some(1, nats=-0.1), BACKEND)
    assert await recall(store, 1, backend=OTHER) == {}
    assert await record(store, shard, some(1, nats=-0.9), OTHER) == some(1, nats=-0.9)
    assert await recall(store, 1, backend=BACKEND) == some(1, nats=-0.1)


async def test_the_oldest_answers_are_evicted_first_and_a_few_at_a_time(store: Store) -> None:
    await queued(store)
    shard = await claimed(store)
    for number in (5, 3, 9, 1, 7):
        await record(store, shard, some(number))
    async with store.worker_unit() as unit:
        assert await unit.answers.last_to_evict(5) is None
        last = await unit.answers.last_to_evict(2)
        assert last is not None
        assert [await unit.answers.evict(last, at_most=2) for _ in range(3)] == [2, 1, 0]
        assert await unit.answers.last_to_evict(2) is None
    assert await recall(store, *range(10)) == some(1, 7)


async def test_the_cost_of_a_shard_is_not_lost_with_its_worker(store: Store) -> None:
    job_id = await queued(store)
    shard = await claimed(store, ALICE, NO_TIME)
    await spend(store, shard, Usage(3, 40, 20, modelled=True), remembered=5)
    assert (await job(store, job_id)).progress.tokens_sent == 40
    successor = await claimed(store, BOB)
    assert successor.progress == Progress(rows=2, prompts=3, tokens_sent=40, tokens_computed=20)
    assert (successor.remembered, successor.modelled) == (5, True)


async def test_what_a_search_still_asks_is_stored_with_its_answers_while_it_awaits_others(store: Store) -> None:
    job_id, scorer = await queued(store, 8), DeterministicScorer()
    shard, backend = await claimed(store), PinnedBackend(scorer, KnownBackend(BACKEND, SMALL))
    cached = CachedScorer(store, scorer, shard, backend, memory=Memory(store), store_seconds=LONG)
    search = Search(ToyWorld(rows=8, classes=2, related=False, seed=0).problem(), ZeroShot())
    cached.pace = PaceOfSearch(search, ASKED_ONCE)
    cached.pace.begin(remembered=0, unanswered=8)
    cached.pace.scored(queries=2, prompts=2)
    assert (await job(store, job_id)).progress.eta_seconds is None
    await cached.store(some(1, 2), Usage(prompts=2))
    assert (await job(store, job_id)).progress.eta_seconds is not None


async def test_costs_come_with_progress_and_make_none(store: Store) -> None:
    await queued(store)
    for number in range(2):
        shard = await claimed(store)
        await save(store, shard, b"stuck", labeled=1, prompts=number)
        await spend(store, shard, Usage(prompts=number + 1))
        await release(store, shard, crashed=True)
    shard = await claimed(store)
    assert (shard.progress.labeled, shard.progress.prompts) == (1, 2)


async def test_a_backend_is_recognized_by_fingerprint_and_canary(store: Store) -> None:
    small = await recognized(store, SMALL)
    assert await recognized(store, HALF_PRECISION) == small
    assert len({small, await recognized(store, RETRAINED), await recognized(store, LARGE)}) == 3
    assert await recognized(store, SMALL) == small


async def test_concurrent_workers_store_a_new_backend_once(store: Store) -> None:
    assert len(set(await asyncio.gather(*(recognized(store, SMALL) for _ in range(6))))) == 1


async def test_a_job_keeps_the_backend_that_it_was_made_with(store: Store) -> None:
    backend = await recognized(store, SMALL)
    job_id = await queued(store, backend=backend)
    assert (await job(store, job_id)).backend_id == backend
    assert await of_job(store, await claimed(store), LARGE) == KnownBackend(backend, SMALL)


async def test_a_job_of_an_earlier_release_takes_the_first_backend_it_meets(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    first, second = await claimed(store), await claimed(store)
    known = await of_job(store, first, SMALL)
    assert known.identity == SMALL
    assert await of_job(store, second, LARGE) == known
    assert (await job(store, job_id)).backend_id == known.id == await recognized(store, SMALL)


async def test_the_answer_memory_stays_within_its_limit(store: Store) -> None:
    await queued(store)
    shard = await claimed(store)
    memory = Memory(store, max_answers=100)
    for first in range(0, 400, 4):
        await record(store, shard, some(*range(first, first + 4)))
        await memory.evict_old(4)
        assert len(await recall(store, *range(400))) < 100 + 100 // 20 + 4
    assert await recall(store, *range(292)) == {}
    assert len(await recall(store, *range(304, 400))) == 96


async def test_a_worker_without_answer_memory_asks_everything_again(store: Store) -> None:
    asked = []
    for _ in range(2):
        trial = Trial(store, "forgetful", nats=0.0)
        await trial.submitted()
        scorer = NoisyScorer(trial.backend, nats=0.0)
        await trial.run(store, scorer, Memory(store, max_answers=0))
        asked.append(scorer.asked)
    assert asked[0] == asked[1] != []
    async with store.worker_unit() as unit:
        assert await unit.answers.last_to_evict(0) is None


async def test_a_run_looks_no_prompt_up_twice(store: Store) -> None:
    trial = Trial(store, "familiar")
    await trial.submitted()
    await trial.run(store, NoisyScorer(trial.backend))
    await trial.submitted()
    watched = WatchedStore(store)
    await trial.run(watched, SilentScorer(trial.backend))
    assert len(watched.looked_up) == len(set(watched.looked_up)) > 0


async def test_a_run_that_keeps_no_answer_finds_the_same_ones(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for kept in (0, 20_000):
        monkeypatch.setattr(answer_cache, "CACHED_ANSWERS", kept)
        trial = Trial(store, f"kept {kept}", nats=0.0)
        job_id = await trial.submitted()
        await trial.run(store, NoisyScorer(trial.backend, nats=0.0))
        found.append((await trial.labels(job_id), (await trial.job(job_id)).progress))
    assert found[0] == found[1]


class WatchedStore(UnluckyStore):
    """Notes which prompts are looked up."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, fatal=None, committed=False)
        self.looked_up = list[PromptKey]()

    @asynccontextmanager
    async def worker_unit(self) -> AsyncIterator[WorkerUnit]:
        async with super().worker_unit() as unit:
            recall = unit.answers.recall

            async def watched(backend_id: BackendId, keys: Collection[PromptKey]) -> Answers:
                self.looked_up += keys
                return await recall(backend_id, keys)

            unit.answers.recall = watched  # type: ignore[method-assign]  # the one call that is watched
            try:
                yield unit
            finally:
                unit.answers.recall = recall  # type: ignore[method-assign]
