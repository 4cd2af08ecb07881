"""What many uploads at once may have of this process: turns at being checked and stored, and room on the disk."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from service.errors import Overloaded, SpoolFull

SMALL_BYTES = 16_000  # a data set that is no larger takes no turn from those that are
SMALL_AT_ONCE = 3  # with large ones, streams and downloads fewer than the database has connections by default
_MEASURED_BYTES = 8_000_000  # after so many the disk is looked at again


class Turns:
    """Lets few data sets be checked and stored at once, so that others get at the processor and the database.

    Large and small ones wait in lines of their own; what waits is on the disk or short.
    """

    def __init__(self, large_at_once: int, wait_seconds: float) -> None:
        self._large = asyncio.Semaphore(large_at_once)
        self._small = asyncio.Semaphore(SMALL_AT_ONCE)
        self._wait_seconds = wait_seconds

    @asynccontextmanager
    async def turn(self, size_bytes: int) -> AsyncIterator[None]:
        """Go on when it is this data set's turn. Raises Overloaded."""
        line = self._small if size_bytes <= SMALL_BYTES else self._large
        try:
            async with asyncio.timeout(self._wait_seconds):
                await line.acquire()
        except TimeoutError as error:
            raise Overloaded("too many data sets are being checked and stored; nothing of this one was kept") from error
        try:
            yield
        finally:
            line.release()


class Spool:
    """The folder for temporary files, where uploads wait; some of its disk is left to others."""

    def __init__(self, min_free_bytes: int) -> None:
        self._min_free_bytes = min_free_bytes

    def check(self, more_bytes: int) -> None:
        """Raise SpoolFull unless there is room for so many bytes more."""
        if shutil.disk_usage(tempfile.gettempdir()).free - more_bytes < self._min_free_bytes:
            raise SpoolFull("there is no room on the disk for this upload just now; nothing of it was kept")

    async def watched(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The same stream, as long as there is room. Raises SpoolFull."""
        unmeasured = 0
        async for part in stream:
            unmeasured += len(part)
            if unmeasured >= _MEASURED_BYTES:
                self.check(0)
                unmeasured = 0
            yield part
