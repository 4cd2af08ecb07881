"""A semaphore with priorities and a size that may change at any time, for the slots of calls to a server."""

import asyncio
import heapq
from collections.abc import Callable


class PrioritySemaphore:
    """A semaphore of `size()` slots, whose current value counts at each `take` and `give_back`; lowest ticket first."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.taken = 0

    @property
    def spare(self) -> bool:
        """Whether a slot is free."""
        return self.taken < self._size()

    async def take(self, ticket: int) -> None:
        """Wait for a slot. Tickets of waiting callers must differ."""
        if not self._waiting and self.spare:
            self.taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (ticket, turn))
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was granted just before the cancellation
                self.give_back()
            raise

    def give_back(self) -> None:
        """Release a slot, and grant it to the next waiting ticket unless too many are taken."""
        self.taken -= 1
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self.taken < self._size():
            _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # a done one was cancelled
                self.taken += 1
                turn.set_result(None)
