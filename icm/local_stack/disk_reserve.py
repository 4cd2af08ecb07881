"""Reserve room on the disk of the embedded Postgres.

A server that cannot write its write-ahead log (WAL) ends, and cannot start again before there is room, because
recovery writes, too. Deleting the reserve, a file that nobody needs, makes that room.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MIB = 1 << 20
BALLAST_BYTES = 32 * MIB  # two segments of WAL, the unit in which it grows
LITTLE_ROOM_BYTES = 32 * MIB  # with less the next segment or table may not fit
AMPLE_ROOM_BYTES = 128 * MIB  # with this much beside it, the reserve is written again


class DiskReserve:
    """A file in the server's folder that only occupies room; a length of 0 means no reserve."""

    def __init__(
        self, folder: Path, *, size_bytes: int = BALLAST_BYTES, room_on: Callable[[Path], int] | None = None
    ) -> None:
        self._folder = folder
        self._file = folder / "ballast"
        self._room_on = room_on or _free_bytes
        self.size_bytes = size_bytes

    @property
    def free_bytes(self) -> int:
        """Room left on the disk for users other than root."""
        return self._room_on(self._folder)

    def is_laid(self) -> bool:
        """Whether the reserve exists."""
        return self._file.exists()

    def lay(self) -> bool:
        """Write the reserve if the disk has ample room beside it; return whether it exists afterwards."""
        if self.is_laid():
            return True
        if self.size_bytes == 0 or self.free_bytes < self.size_bytes + AMPLE_ROOM_BYTES:
            return False
        unfinished = self._file.with_suffix(".unfinished")
        try:
            self._write(unfinished)
            unfinished.rename(self._file)
        except OSError:  # somebody else has filled the disk meanwhile
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            return False
        return True

    def drop(self) -> bool:
        """Delete the reserve; return whether it existed."""
        try:
            self._file.unlink()
        except FileNotFoundError:
            return False
        return True

    def _write(self, path: Path) -> None:
        """Write random bytes, since a file system may compress others to nothing."""
        with path.open("wb") as file:
            path.chmod(0o600)
            for _ in range(self.size_bytes // MIB):
                file.write(os.urandom(MIB))
            file.flush()
            os.fsync(file.fileno())


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free
