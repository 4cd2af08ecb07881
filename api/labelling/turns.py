"""Turns for checking and storing data sets: few at once, shared fairly between projects."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.errors import Overloaded, RequestTooSlow

SMALL_BYTES = 16_000  # a data set up to this size takes no turn from larger ones
SMALL_AT_ONCE = 3  # with large ones, streams and downloads fewer than the database has connections by default


class Turns:
    """Limit the data sets that the process checks and stores at once, so that others get processor and database.

    Large and small ones wait in separate queues; waiting data sets are on the disk or short.
    """

    def __init__(self, large_at_once: int, wait_seconds: float) -> None:
        self._large = _Line(large_at_once)
        self._small = _Line(SMALL_AT_ONCE)
        self._wait_seconds = wait_seconds

    @asynccontextmanager
    async def turn(self, size_bytes: int, project: str = "", gone: asyncio.Event | None = None) -> AsyncIterator[None]:
        """Wait for this data set's turn. Raises Overloaded, and RequestTooSlow once its sender is `gone`."""
        line = self._small if size_bytes <= SMALL_BYTES else self._large
        try:
            async with asyncio.timeout(self._wait_seconds):
                await line.enter(project, gone or asyncio.Event())
        except TimeoutError as error:
            raise Overloaded("too many data sets are being checked and stored; nothing of this one was kept") from error
        try:
            yield
        finally:
            line.leave(project)


class _Line:
    """Give the next turn to the project with the fewest current turns; among equals, to the longest waiting one."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._having = Counter[str]()
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    async def enter(self, project: str, gone: asyncio.Event) -> None:
        """Wait for the turn. Raises RequestTooSlow once the sender is gone."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((project, turn))
        self._let_in()
        left = asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait((turn, left), return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            self._give_up(project, turn)
            raise
        finally:
            left.cancel()
        if not turn.done():
            self._give_up(project, turn)
            raise RequestTooSlow("the client left before it was its turn; nothing of its data set was kept")

    def leave(self, project: str) -> None:
        """End the turn."""
        self._free += 1
        self._having[project] -= 1
        self._let_in()

    def _give_up(self, project: str, turn: "asyncio.Future[None]") -> None:
        if turn.done():  # the turn came at the same moment
            self.leave(project)
        else:
            self._waiting.remove((project, turn))

    def _let_in(self) -> None:
        while self._free and self._waiting:
            following = min(self._waiting, key=lambda waiting: self._having[waiting[0]])  # the first of equals
            self._waiting.remove(following)
            project, turn = following
            self._free -= 1
            self._having[project] += 1
            turn.set_result(None)
