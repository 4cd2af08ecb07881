"""Requests that arrive together are scored together; what nobody waits for is dropped."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from threading import Event

import pytest

from inference.batching.generation import Generation, GenerationRequest
from inference.batching.packed import NamedTokens, NextToken
from inference.batching.scheduler import Scheduler
from inference.cache.prefix_cache import Tokens
from inference.engine import Engine
from inference.errors import GenerationFailed
from inference.model.low_rank import Adapter
from inference.model.tokenization import PromptTokenizer
from tests.support.inference.tiny import plain_scores, until


class GatedEngine:
    """An engine that waits for a test's permission and records the sizes of its batches."""

    def __init__(self, engine: Engine) -> None:
        self.inner = engine
        self.gate = Event()
        self.entered = Event()
        self.batches: list[int] = []
        self.error: Exception | None = None

    def score(
        self,
        prompts: Sequence[Tokens],
        named: Sequence[NamedTokens] | None = None,
        adapters: Sequence[Adapter | None] | None = None,
    ) -> list[NextToken]:
        self.batches.append(len(prompts))
        self.entered.set()
        self.gate.wait(10)
        if self.error:
            raise self.error
        return self.inner.score(prompts, named, adapters)


@pytest.fixture
def gated(engine: Engine) -> GatedEngine:
    return GatedEngine(engine)


@pytest.fixture
async def scheduler(gated: GatedEngine) -> AsyncIterator[Scheduler]:
    made = Scheduler(gated, PromptTokenizer(gated.inner.language_model.tokenizer))
    made.start()
    yield made
    gated.gate.set()
    await made.stop()


def ask(*prompt: int, new: int = 1) -> GenerationRequest:
    return GenerationRequest(prompt=list(prompt), max_new_tokens=new, top_n=3)


async def start_and_hold(scheduler: Scheduler, gated: GatedEngine) -> asyncio.Task[list[Generation]]:
    """A first request that is being scored, so that those that follow have to wait."""
    task = asyncio.create_task(scheduler.generate([ask(5)]))
    await asyncio.to_thread(gated.entered.wait, 10)
    return task


async def test_requests_that_arrive_during_a_batch_form_the_next(scheduler: Scheduler, gated: GatedEngine) -> None:
    first = await start_and_hold(scheduler, gated)
    others = [asyncio.create_task(scheduler.generate([ask(6, number)])) for number in range(20)]
    await until(lambda: scheduler.waiting >= 20)
    gated.gate.set()
    await asyncio.gather(first, *others)
    assert gated.batches == [1, 20]
    assert (scheduler.batches, scheduler.prompts) == (2, 21)


async def test_every_caller_gets_the_answer_to_its_own_prompt(scheduler: Scheduler, gated: GatedEngine) -> None:
    gated.gate.set()
    prompts = [[0, number, number + 1] for number in range(2, 30)]
    answers = await asyncio.gather(*(scheduler.generate([ask(*prompt)]) for prompt in prompts))
    for prompt, (generation,) in zip(prompts, answers, strict=True):
        expected = plain_scores(gated.inner, prompt)
        assert generation.steps[0].token == int(expected.argmax())
        assert generation.steps[0].log_probability == pytest.approx(float(expected.max()), abs=1e-5)
        assert generation.finish_reason in ("length", "eos_token")


async def test_a_caller_that_gives_up_while_waiting_costs_nothing(scheduler: Scheduler, gated: GatedEngine) -> None:
    first = await start_and_hold(scheduler, gated)
    given_up = asyncio.create_task(scheduler.generate([ask(6), ask(7)]))
    kept = asyncio.create_task(scheduler.generate([ask(8)]))
    await until(lambda: scheduler.waiting >= 3)
    given_up.cancel()
    await asyncio.wait([given_up])
    gated.gate.set()
    await asyncio.gather(first, kept)
    assert gated.batches == [1, 1]


async def test_a_failed_batch_fails_its_requests_and_no_others(scheduler: Scheduler, gated: GatedEngine) -> None:
    gated.gate.set()
    gated.error = MemoryError("out of memory")
    with pytest.raises(GenerationFailed, match="out of memory"):
        await scheduler.generate([ask(5), ask(6)])
    gated.error = None
    assert len(await scheduler.generate([ask(5)])) == 1


async def test_stopping_fails_waiting_requests(gated: GatedEngine) -> None:
    scheduler = Scheduler(gated, PromptTokenizer(gated.inner.language_model.tokenizer))
    scheduler.start()
    first = await start_and_hold(scheduler, gated)
    waiting = asyncio.create_task(scheduler.generate([ask(6)]))
    await until(lambda: scheduler.waiting >= 1)
    stopping = asyncio.create_task(scheduler.stop())
    await until(lambda: scheduler.waiting >= 2)
    gated.gate.set()
    await stopping
    assert (await first)[0].finish_reason is not None
    with pytest.raises(GenerationFailed, match="stopping"):
        await waiting
    with pytest.raises(GenerationFailed, match="not running"):
        await scheduler.generate([ask(5)])


async def test_a_continuation_is_the_likeliest_token_after_token(scheduler: Scheduler, gated: GatedEngine) -> None:
    gated.gate.set()
    (generation,) = await scheduler.generate([ask(0, 70, 80, new=6)])
    tokens = [0, 70, 80]
    for step in generation.steps:
        expected = plain_scores(gated.inner, tokens)
        assert step.token == int(expected.argmax())
        assert step.top.ids == expected.topk(3).indices.tolist()
        tokens.append(step.token)
    assert len(generation.steps) == 6
    assert generation.computed_tokens == 3
