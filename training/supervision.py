"""Support for a supervising process: signals that request a stop, and one process for each folder."""

import fcntl
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from training.errors import FolderInUse, Refused, Stopped

LOCK = "lock"


class StopRequest:
    """A request to stop."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Make SIGTERM and SIGINT request a stop instead of ending the process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def end_at_once(self) -> None:
        """Let SIGTERM and SIGINT end the process by default: it has nothing to save. Raises Stopped after a request."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        if self.requested:
            raise Stopped("the training was stopped")

    def check(self) -> None:
        """Raise Stopped after a request; call it at points where stopping loses nothing."""
        if self.requested:
            raise Stopped("the training was stopped; started again, it resumes")

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.requested = True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder for this process; the system releases it at any end of the process. Raises FolderInUse, Refused."""
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
