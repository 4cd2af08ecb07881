"""Watches over the reading of one data set: it takes no longer than it may, and ends once nobody wants it."""

import io
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol, TypeVar

from service.errors import PayloadTooLarge, RequestTooSlow

READING_SECONDS = 120.0  # of one reading, what is done with its rows not counted; two gigabytes take half of it

_Item = TypeVar("_Item")


class Watch:
    """Counts the seconds of one reading, and may be told from any thread to end all readings."""

    def __init__(self, seconds: float = READING_SECONDS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._left_alone = threading.Event()
        self._spent = 0.0
        self._since = clock()

    def cancel(self) -> None:
        """Whoever sent the data set has left."""
        self._left_alone.set()

    def check(self) -> None:
        """Raises PayloadTooLarge where the reading has taken too long, and RequestTooSlow where nobody wants it."""
        self.check_wanted()
        if self._spent + self._clock() - self._since > self._seconds:
            raise PayloadTooLarge(
                f"reading the data set takes more than {self._seconds:g} seconds; send it in several parts"
            )

    def check_wanted(self) -> None:
        """Raises RequestTooSlow where nobody wants the data set any more."""
        if self._left_alone.is_set():
            raise RequestTooSlow("the client left before its data set was read; nothing of it was kept")

    def restart(self) -> None:
        """What was done so far has limits of its own, and is not counted."""
        self._spent, self._since = 0.0, self._clock()

    def over(self, items: Iterator[_Item]) -> Generator[_Item, None, None]:
        """A reading from its beginning: the same items, the time between them not counted."""
        self.restart()
        for item in items:
            self.check()
            self._spent += self._clock() - self._since
            yield item
            self._since = self._clock()


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


class WatchedFile(io.RawIOBase):
    """A stream, looked at before each block: what yields no row for long is noticed all the same."""

    def __init__(self, file: _Readable, watch: Watch) -> None:
        self._file = file
        self._watch = watch

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """The next block. Raises PayloadTooLarge, RequestTooSlow."""
        self._watch.check()
        block = self._file.read(len(buffer)) or b""
        buffer[: len(block)] = block
        return len(block)
