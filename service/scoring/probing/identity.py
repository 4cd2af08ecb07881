"""Identifies a server by its own description and by its log-probabilities of fixed prompts (the canary)."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

from service.errors import BackendError, BackendUnavailable
from service.records.scoring import BackendIdentity, BackendInfo, ServerFacts
from service.scoring.calls.executor import CallExecutor

# Prompts with many plausible continuations: the probability of the likeliest one differs from model to model.
CANARY_PROMPTS = (
    "The capital of France is",
    "Question: Is water wet?\nAnswer:",
    "Once upon a time there was a",
    "The",
    "In 1987 she moved to",
    "def f(x):\n    return",
    "Dear",
    "17 4 9 2",
)

CANARY_SECONDS = 60.0  # a canary older than this is measured again: an idle server may restart unnoticed

Canary = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Measured:
    """A canary, its time (seconds), and the number of broken connections before it."""

    canary: Canary
    at: float
    disconnections: int


class Recognition:
    """Identifies one server again and again; it repeats the canary after a broken connection, and after a minute.

    A server can change its model only by restarting. A restart breaks the calls in flight, but if there
    are none, the next connection opens without any sign of it.
    """

    def __init__(
        self,
        kind: str,
        executor: CallExecutor,
        *,
        facts: Callable[[], Awaitable[ServerFacts]],
        canary: Callable[[], Awaitable[Canary]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kind = kind
        self._executor = executor
        self._facts = facts
        self._measure = canary
        self._clock = clock
        self._last: _Measured | None = None

    async def identify(self) -> BackendIdentity:
        """The server's present identity. Raises BackendError."""
        facts = await self._facts()
        last, disconnections = self._last, self._executor.disconnections
        if last is None or last.disconnections != disconnections or self._clock() - last.at > CANARY_SECONDS:
            last = self._last = _Measured(await self._measure(), self._clock(), disconnections)
        return BackendIdentity(info_from_facts("", self._kind, facts).fingerprint, last.canary)


def info_from_facts(name: str, kind: str, facts: ServerFacts) -> BackendInfo:
    """The probe result for a server that answers: its facts; ready if these have no problems."""
    return BackendInfo(name=name, kind=kind, ready=not facts.problems, **asdict(facts))


def not_ready(name: str, kind: str, error: BackendError) -> BackendInfo:
    """The probe result for a server that failed to answer."""
    reachable = not isinstance(error, BackendUnavailable)
    return BackendInfo(name=name, kind=kind, ready=False, reachable=reachable, problems=(str(error),))
