"""Limit the disk space of concurrent uploads."""

import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator

from service.errors import SpoolFull

_MEASURED_BYTES = 8_000_000  # bytes after which to check the disk again


class Spool:
    """The folder of temporary files, where uploads wait; it leaves some disk space to others."""

    def __init__(self, min_free_bytes: int) -> None:
        self._min_free_bytes = min_free_bytes

    def check(self, more_bytes: int) -> None:
        """Raise SpoolFull unless there is room for this number of further bytes."""
        if shutil.disk_usage(tempfile.gettempdir()).free - more_bytes < self._min_free_bytes:
            raise SpoolFull("there is no room on the disk for this upload just now; nothing of it was kept")

    async def watched(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Pass the stream on as long as there is room. Raises SpoolFull."""
        unmeasured = 0
        async for part in stream:
            unmeasured += len(part)
            if unmeasured >= _MEASURED_BYTES:
                self.check(0)
                unmeasured = 0
            yield part
