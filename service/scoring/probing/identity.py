"""Recognises a server: by what it says of itself, and by what it answers to a few fixed prompts."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields

from service.errors import BackendError, BackendUnavailable
from service.records.scoring import BackendIdentity, BackendInfo, ServerFacts
from service.scoring.calls.executor import CallExecutor

# Prompts that leave much open: how sure a model is of its likeliest next token then differs from model to model.
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

CANARY_SECONDS = 60.0  # a server may restart while nobody speaks to it; later than this, that is noticed

Canary = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Measured:
    """A canary, when it was measured (seconds), and how many connections had broken before."""

    canary: Canary
    at: float
    disconnections: int


class Recognition:
    """Identifies a server; its canary is measured again after a connection has broken, and now and then.

    A server can only become another one by restarting. That breaks the calls under way; where
    there were none, the next connection is opened without a word.
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
        """What the server is just now. Raises BackendError."""
        facts = await self._facts()
        last, disconnections = self._last, self._executor.disconnections
        if last is None or last.disconnections != disconnections or self._clock() - last.at > CANARY_SECONDS:
            last = self._last = _Measured(await self._measure(), self._clock(), disconnections)
        return BackendIdentity(described("", self._kind, facts).fingerprint, last.canary)


def described(name: str, kind: str, facts: ServerFacts) -> BackendInfo:
    """A backend that answers; ready where there are no problems."""
    told = {fact.name: getattr(facts, fact.name) for fact in fields(ServerFacts)}
    return BackendInfo(name=name, kind=kind, ready=not facts.problems, **told)


def not_ready(name: str, kind: str, error: BackendError) -> BackendInfo:
    """A backend that gave an error in place of an answer."""
    reachable = not isinstance(error, BackendUnavailable)
    return BackendInfo(name=name, kind=kind, ready=False, reachable=reachable, problems=(str(error),))
