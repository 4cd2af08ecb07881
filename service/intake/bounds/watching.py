"""Ends the reading of a data set if it takes too long or if its client has left."""

import io
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol, TypeVar

from service.errors import PayloadTooLarge, RequestTooSlow

READING_SECONDS = 120.0  # for one reading, without the work on its rows; two gigabytes take about half of it

_Item = TypeVar("_Item")


class Watch:
    """Measures the time of one reading; any thread can cancel it and all later readings."""

    def __init__(self, seconds: float = READING_SECONDS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._left_alone = threading.Event()
        self._spent = 0.0
        self._since = clock()

    def cancel(self) -> None:
        """The client has left: end all readings."""
        self._left_alone.set()

    def check(self) -> None:
        """Raises PayloadTooLarge if the reading has taken too long, and RequestTooSlow if the client has left."""
        self.check_wanted()
        if self._spent + self._clock() - self._since > self._seconds:
            raise PayloadTooLarge(
                f"reading the data set takes more than {self._seconds:g} seconds; send it in several parts"
            )

    def check_wanted(self) -> None:
        """Raises RequestTooSlow if the client has left."""
        if self._left_alone.is_set():
            raise RequestTooSlow("the client left before its data set was read; nothing of it was kept")

    def restart(self) -> None:
        """Start measuring anew: the work so far has limits of its own."""
        self._spent, self._since = 0.0, self._clock()

    def over(self, items: Iterator[_Item]) -> Generator[_Item, None, None]:
        """Watch a reading from its beginning; does not count the time that the caller spends between items."""
        self.restart()
        for item in items:
            self.check()
            self._spent += self._clock() - self._since
            yield item
            self._since = self._clock()


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


class WatchedFile(io.RawIOBase):
    """A stream that checks its watch before each block, so that also a reading without rows is ended in time."""

    def __init__(self, file: _Readable, watch: Watch) -> None:
        self._file = file
        self._watch = watch

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """The next block. Raises PayloadTooLarge, RequestTooSlow."""
        self._watch.check()
        block = self._file.read(len(buffer)) or b""
        buffer[: len(block)] = block
        return len(block)
