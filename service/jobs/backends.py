"""Lists the scoring backends with what a probe finds out about each."""

import asyncio
import time
from collections.abc import Callable

from service.errors import BackendError
from service.ports.scoring import Scorers
from service.records.scoring import BackendInfo

PROBE_SECONDS = 10.0  # the longest wait for one backend; all are asked at once
REMEMBERED_SECONDS = 5.0  # so that a page that is polled does not become load on the inference servers


class ModelDirectory:
    """The configured backends as a probe finds them, the default first.

    A list is given again for a few seconds, and callers that come while one is made wait for it.
    """

    def __init__(
        self,
        scorers: Scorers,
        *,
        probe_seconds: float = PROBE_SECONDS,
        remembered_seconds: float = REMEMBERED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scorers = scorers
        self._probe_seconds = probe_seconds
        self._remembered_seconds = remembered_seconds
        self._clock = clock
        self._turn = asyncio.Lock()
        self._found: tuple[BackendInfo, ...] = ()
        self._found_at: float | None = None

    async def listed(self) -> tuple[BackendInfo, ...]:
        """What the probes say now, or said a few seconds ago; errors become problems of their backend."""
        async with self._turn:
            if self._found_at is None or self._clock() - self._found_at >= self._remembered_seconds:
                self._found = tuple(await asyncio.gather(*map(self._probe, self._scorers.names())))
                self._found_at = self._clock()
            return self._found

    async def _probe(self, name: str) -> BackendInfo:
        try:
            async with asyncio.timeout(self._probe_seconds):
                return await self._scorers.get(name).probe()
        except TimeoutError:
            problem = f"no answer within {self._probe_seconds:.0f} seconds"
        except BackendError as error:
            problem = str(error)
        return BackendInfo(name=name, kind="", ready=False, reachable=False, problems=(problem,))
