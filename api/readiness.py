"""The readiness check of `/health/ready`."""

import asyncio

from service.errors import BackendUnavailable
from service.ports.scoring import Scorers
from service.records.scoring import BackendInfo

_PATIENCE_SECONDS = 1.0  # for one probe; a large language model may take longer


class FirstAnswer:
    """Wait for the first answer of the default backend, if the operator wants that.

    Only the first answer counts. A later outage pauses jobs, but users should still read stored data: otherwise a load
    balancer would remove every API process at once.
    """

    def __init__(self, scorers: Scorers, *, is_awaited: bool) -> None:
        self._scorers = scorers
        self._is_awaited = is_awaited
        self._probe: asyncio.Task[BackendInfo] | None = None

    async def check(self) -> None:
        """Raise BackendUnavailable until the backend has answered."""
        if not self._is_awaited:
            return
        name = self._scorers.names()[0]
        probe = self._probe = self._probe or asyncio.create_task(self._scorers.get(name).probe())
        await asyncio.wait({probe}, timeout=_PATIENCE_SECONDS)
        if not probe.done():
            raise BackendUnavailable(f"the backend {name!r} has not answered yet")
        if self._probe is probe:  # other callers may have waited for the same probe
            self._probe = None
        if probe.cancelled() or probe.exception() is not None or not probe.result().reachable:
            raise BackendUnavailable(f"the backend {name!r} does not answer yet; it may still load its language model")
        self._is_awaited = False

    def close(self) -> None:
        """Stop probing."""
        if self._probe is not None:
            self._probe.cancel()
