"""Lists the configured scoring backends, each with the result of a probe."""

import asyncio
import time
from collections.abc import Callable

from service.errors import BackendError
from service.ports.scoring import Scorers
from service.records.scoring import BackendInfo

PROBE_SECONDS = 10.0  # the longest wait for one backend; all are probed at once
REMEMBERED_SECONDS = 5.0  # so that clients which poll the list do not load the inference servers


class ModelDirectory:
    """Probes all configured backends, and caches the list for a few seconds.

    Callers that come during a probe wait for its result. The default backend is the first of the list.
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
        """The probe results, at most a few seconds old; errors become problems of their backend."""
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
            problem = (
                f"no answer within {self._probe_seconds:.0f} seconds; the inference server is busy, still loads its "
                "language model, or cannot be reached: ask again in a minute"
            )
        except BackendError as error:
            problem = str(error)
        return BackendInfo(name=name, kind="", ready=False, reachable=False, problems=(problem,))
