"""Every adapter with its server, in simulated time: the base of the suites that run over all adapters."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from service.ports.scoring import Scorer
from service.scoring.calls.executor import CallExecutor
from service.scoring.embedded import EmbeddedScorer
from service.scoring.prompts import PromptScorer
from service.scoring.wires.llamacpp import LlamaCppWire
from service.scoring.wires.sglang import SglangWire
from service.scoring.wires.tgi import TgiWire
from service.scoring.wires.vllm import VllmWire
from service.scoring.wires.wire import Wire
from tests.servers.asking import KINDS
from tests.servers.connections import serving
from tests.servers.fake import FakeServer
from tests.servers.tgi import FakeTgi

MAX_TOP_TOKENS = 200  # TGI's launch option, large enough for the answers of the toy world
ALL_TOKENS = 2000  # more than the toy vocabulary has
CONNECTIONS = 16


@dataclass
class Waits:
    """A simulated clock for the executor: a wait advances the clock and takes no time."""

    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        """Seconds of the machine, plus all simulated waits."""
        return time.monotonic() + sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        """Advance the clock without waiting."""
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def executor(self, *, concurrency: int = CONNECTIONS, patience_seconds: float = 60.0) -> CallExecutor:
        """An executor on this clock."""
        return CallExecutor(
            concurrency=concurrency,
            patience_seconds=patience_seconds,
            clock=self.clock,
            sleep=self.sleep,
            rng=Random(0),
        )


def wire_of(kind: str, url: str, *, timeout_seconds: float = 30.0, max_top_tokens: int = MAX_TOP_TOKENS) -> Wire:
    """The adapter for a kind of server."""
    match kind:
        case "tgi":
            return TgiWire(url, timeout_seconds=timeout_seconds, connections=CONNECTIONS, max_top_tokens=max_top_tokens)
        case "vllm":
            return VllmWire(url, timeout_seconds=timeout_seconds, connections=CONNECTIONS)
        case "sglang":
            return SglangWire(url, timeout_seconds=timeout_seconds, connections=CONNECTIONS)
        case "llamacpp":
            return LlamaCppWire(url, timeout_seconds=timeout_seconds, connections=CONNECTIONS)
    raise ValueError(kind)


def scorer_of(
    kind: str, url: str, executor: CallExecutor, *, timeout_seconds: float = 30.0, max_top_tokens: int = MAX_TOP_TOKENS
) -> Scorer:
    """The scorer for a kind of server, with this executor."""
    if kind == "embedded":
        return EmbeddedScorer("default", url, timeout_seconds=timeout_seconds, executor=executor)
    wire = wire_of(kind, url, timeout_seconds=timeout_seconds, max_top_tokens=max_top_tokens)
    return PromptScorer("default", wire, executor)


def fake_of(kind: str) -> FakeServer:
    """A fake server launched as its guide recommends."""
    return FakeTgi(max_top_n_tokens=MAX_TOP_TOKENS) if kind == "tgi" else KINDS[kind]()


@dataclass
class Rig:
    """A server with its adapter."""

    server: FakeServer
    scorer: Scorer
    waits: Waits


@asynccontextmanager
async def rig_of(
    kind: str,
    server: FakeServer,
    *,
    timeout_seconds: float = 30.0,
    patience_seconds: float = 60.0,
    max_top_tokens: int = MAX_TOP_TOKENS,
) -> AsyncIterator[Rig]:
    """Serve and connect within the block."""
    waits = Waits()
    async with serving(server) as url:
        executor = waits.executor(patience_seconds=patience_seconds)
        scorer = scorer_of(kind, url, executor, timeout_seconds=timeout_seconds, max_top_tokens=max_top_tokens)
        try:
            yield Rig(server, scorer, waits)
        finally:
            await scorer.close()
