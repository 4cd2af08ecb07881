"""Whether requests can be served: what `/health/ready` says."""

import asyncio

from service.errors import BackendUnavailable
from service.ports.scoring import Scorers
from service.records.scoring import BackendInfo

_PATIENCE_SECONDS = 1.0  # of one question; a large language model may take longer to be probed


class FirstAnswer:
    """Waits for the default backend to answer once, where that is asked for.

    Only the first time counts. A backend that is away later pauses jobs, which is no reason to keep people from what
    is stored: a load balancer would take every API process out at once.
    """

    def __init__(self, scorers: Scorers, *, is_awaited: bool) -> None:
        self._scorers = scorers
        self._is_awaited = is_awaited
        self._probe: asyncio.Task[BackendInfo] | None = None

    async def check(self) -> None:
        """Raise BackendUnavailable until it has come."""
        if not self._is_awaited:
            return
        name = self._scorers.names()[0]
        probe = self._probe = self._probe or asyncio.create_task(self._scorers.get(name).probe())
        await asyncio.wait({probe}, timeout=_PATIENCE_SECONDS)
        if not probe.done():
            raise BackendUnavailable(f"the backend {name!r} has not answered yet")
        if self._probe is probe:  # others may have waited for the same one
            self._probe = None
        if probe.cancelled() or probe.exception() is not None or not probe.result().reachable:
            raise BackendUnavailable(f"the backend {name!r} does not answer yet; it may still load its language model")
        self._is_awaited = False

    def close(self) -> None:
        """Ask no more."""
        if self._probe is not None:
            self._probe.cancel()
