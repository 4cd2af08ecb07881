"""Recognises a server: by what it says of itself, and by what it answers to a few fixed prompts."""

from collections.abc import Awaitable, Callable, Sequence

from service.errors import BackendError, BackendUnavailable
from service.ports import BackendIdentity, BackendInfo
from service.scoring.driving import Driver
from service.scoring.wire import ServerFacts

CANARY_PROMPTS = ("The capital of France is", "1, 2, 3, 4,", "Question: Is water wet?\nAnswer:")

Canary = tuple[float, ...]


class Recognition:
    """Identifies a server; the canary is measured once, and again after a connection has broken.

    A server can only become another one by restarting, and then it drops its connections.
    """

    def __init__(
        self,
        kind: str,
        driver: Driver,
        *,
        facts: Callable[[], Awaitable[ServerFacts]],
        canary: Callable[[], Awaitable[Canary]],
    ) -> None:
        self._kind = kind
        self._driver = driver
        self._facts = facts
        self._measure = canary
        self._measured: tuple[int, Canary] | None = None  # disconnections before it was measured, canary

    async def identify(self) -> BackendIdentity:
        """What the server is just now. Raises BackendError."""
        facts = await self._facts()
        disconnections = self._driver.disconnections
        if self._measured is None or self._measured[0] != disconnections:
            self._measured = (disconnections, await self._measure())
        return BackendIdentity(described("", self._kind, facts).fingerprint, self._measured[1])


def described(
    name: str, kind: str, facts: ServerFacts, problems: Sequence[str] = (), *, reports_tokens_computed: bool = False
) -> BackendInfo:
    """A backend that answers; ready where there are no problems."""
    return BackendInfo(
        name=name,
        kind=kind,
        ready=not problems,
        model=facts.model,
        revision=facts.revision,
        server_version=facts.version,
        context_tokens=facts.context_tokens,
        max_concurrent_requests=facts.max_concurrent_requests,
        max_top_tokens=facts.max_top_tokens,
        cache_block_tokens=facts.cache_block_tokens,
        reports_tokens_computed=reports_tokens_computed,
        problems=tuple(problems),
    )


def not_ready(name: str, kind: str, error: BackendError) -> BackendInfo:
    """A backend that gave an error in place of an answer."""
    reachable = not isinstance(error, BackendUnavailable)
    return BackendInfo(name=name, kind=kind, ready=False, reachable=reachable, problems=(str(error),))
