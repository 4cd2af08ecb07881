"""Slots for calls: a number that may change at any time, given to those who came first."""

import asyncio
import heapq
from collections.abc import Callable


class Slots:
    """At most `size()` are taken, as it is when one is asked for or given back; the lowest ticket is served first."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.taken = 0

    @property
    def spare(self) -> bool:
        """Whether a slot is free that nobody waits for."""
        return self.taken < self._size()

    async def take(self, ticket: int) -> None:
        """Wait for a slot. No two that wait have the same ticket."""
        if not self._waiting and self.spare:
            self.taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (ticket, turn))
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was granted just before
                self.give_back()
            raise

    def give_back(self) -> None:
        """Give a slot back, to the next that waits if there are not too many taken."""
        self.taken -= 1
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self.taken < self._size():
            _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # else whoever waited was cancelled
                self.taken += 1
                turn.set_result(None)
