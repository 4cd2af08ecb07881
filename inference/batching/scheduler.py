"""Gather concurrent requests into batches and run them in a separate thread."""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from inference.batching.generation import Generation, GenerationRequest, advance
from inference.batching.packed import NamedTokens, NextToken
from inference.cache.prefix_cache import Tokens
from inference.errors import GenerationFailed
from inference.model.low_rank import Adapter
from inference.model.tokenization import PromptTokenizer

logger = logging.getLogger(__name__)

_GAP_SECONDS = 0.002  # a batch closes when no request has arrived for this long
_WAIT_SECONDS = 0.01  # and after this time in any case
_BATCH_PROMPTS = 1024
_BATCH_TOKENS = 1 << 20  # tokens sent, most of them usually shared


class BatchEngine(Protocol):
    """The scheduler's view of `Engine`."""

    def score(
        self,
        prompts: Sequence[Tokens],
        named: Sequence[NamedTokens] | None = None,
        adapters: Sequence[Adapter | None] | None = None,
    ) -> list[NextToken]:
        """Score each prompt, with its adapter."""


@dataclass(slots=True, eq=False)
class _Work:
    """A generation, its adapter, and the future of its caller."""

    generation: Generation
    adapter: Adapter | None
    done: asyncio.Future[Generation]
    submitted: float
    started: float = 0.0
    abandoned: bool = False


class Scheduler:
    """Run an engine in a thread; callers await their answers in the event loop that started it."""

    def __init__(self, engine: BatchEngine, tokenizer: PromptTokenizer) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._arrivals: queue.SimpleQueue[_Work | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.batches = 0
        self.prompts = 0

    def start(self) -> None:
        """Start the thread; call once, inside the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End the thread after the current batch; waiting callers get GenerationFailed."""
        self._arrivals.put(None)
        await asyncio.to_thread(self._thread.join)

    @property
    def waiting(self) -> int:
        """The number of queued prompts."""
        return self._arrivals.qsize()

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    def between_batches(self, call: Callable[[], None]) -> None:
        """Make the thread call this after the current batch and all earlier requests."""
        self._arrivals.put(call)

    async def generate(self, requests: Sequence[GenerationRequest], adapter: Adapter | None = None) -> list[Generation]:
        """Return the answers to these requests. Raises GenerationFailed. Cancelling the caller drops the work."""
        if self._loop is None or not self.alive:
            raise GenerationFailed("the server is not running")
        now = time.perf_counter()
        works = [_Work(Generation(request), adapter, self._loop.create_future(), now) for request in requests]
        for work in works:
            self._arrivals.put(work)
        try:
            return list(await asyncio.gather(*(work.done for work in works)))
        finally:
            for work in works:
                work.abandoned = True

    def _run(self) -> None:
        running: list[_Work] = []
        stopping = False
        while not stopping:
            arrived, stopping = self._collect(block=not running)
            running = [work for work in [*running, *arrived] if not work.abandoned]
            if running and not stopping:
                running = self._advance(running)
        self._fail([*running, *self._drain()], GenerationFailed("the server is stopping"))

    def _collect(self, *, block: bool) -> tuple[list[_Work], bool]:
        """Return the new requests, and whether to stop; an idle thread waits for a batch."""
        arrived: list[_Work] = []
        tokens, deadline = 0, None
        while len(arrived) < _BATCH_PROMPTS and tokens < _BATCH_TOKENS:
            now = time.perf_counter()
            try:
                if not block:
                    work = self._arrivals.get_nowait()
                elif deadline is None:
                    work = self._arrivals.get()
                else:
                    work = self._arrivals.get(timeout=max(0.0, min(_GAP_SECONDS, deadline - now)))
            except queue.Empty:
                break
            if work is None:
                return arrived, True
            if not isinstance(work, _Work):
                _call(work)
                continue
            deadline = deadline or time.perf_counter() + _WAIT_SECONDS
            tokens += len(work.generation.request.prompt)
            arrived.append(work)
        return self._take_up(arrived), False

    def _take_up(self, works: list[_Work]) -> list[_Work]:
        now = time.perf_counter()
        for work in works:
            work.started = now
            work.generation.queue_seconds = now - work.submitted
        return works

    def _advance(self, works: list[_Work]) -> list[_Work]:
        """Generate a token for each, or score it; return those that need more tokens."""
        generations = [work.generation for work in works]
        try:
            answers = self._engine.score(
                [generation.tokens_so_far() for generation in generations],
                [generation.request.named for generation in generations],
                [work.adapter for work in works],
            )
            advance(generations, answers, self._tokenizer)
        except Exception as error:
            logger.exception("a batch of %d prompts failed", len(works))
            self._fail(works, GenerationFailed(f"{type(error).__name__}: {error}"))
            return []
        self.batches += 1
        self.prompts += len(works)
        now = time.perf_counter()
        finished = [work for work in works if work.generation.finish_reason]
        for work in finished:
            work.generation.inference_seconds = now - work.started
        self._in_loop(lambda: _deliver(finished))
        return [work for work in works if not work.generation.finish_reason]

    def _drain(self) -> list[_Work]:
        works = []
        while not self._arrivals.empty():
            work = self._arrivals.get()
            if isinstance(work, _Work):
                works.append(work)
        return works

    def _fail(self, works: list[_Work], error: GenerationFailed) -> None:
        self._in_loop(lambda: _refuse(works, error))

    def _in_loop(self, call: Callable[[], None]) -> None:
        """Resolve futures in their event loop, unless it is closed and nobody waits."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)


def _call(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:
        logger.exception("a call between two batches failed")


def _deliver(works: Sequence[_Work]) -> None:
    for work in works:
        if not work.done.done():
            work.done.set_result(work.generation)


def _refuse(works: Sequence[_Work], error: GenerationFailed) -> None:
    for work in works:
        if not work.done.done():
            work.done.set_exception(error)
