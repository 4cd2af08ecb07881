"""What a supervising process relies on: signals that ask for a stop, and one process to a folder."""

import fcntl
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from training.errors import FolderInUse, Refused, Stopped

LOCK = "lock"


class StopRequest:
    """Whether somebody asked for a stop."""

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> None:
        """From now on SIGTERM and SIGINT ask for a stop and end nothing by themselves."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def check(self) -> None:
        """Raises Stopped once somebody asked for it; called where nothing is lost by stopping."""
        if self.asked:
            raise Stopped("told to stop; started again, the training goes on")

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder to this process; the system lets go of it however the process ends. Raises FolderInUse, Refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise Refused(f"--out: {str(folder)!r} cannot be written: {(error.strerror or 'unusable').lower()}") from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUse(f"another process is training in {str(folder)!r}; wait for it or stop it") from error
        yield
