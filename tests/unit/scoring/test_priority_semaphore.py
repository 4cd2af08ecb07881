import asyncio

import pytest

from service.scoring.calls.priority_semaphore import PrioritySemaphore


class Size:
    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self) -> int:
        return self.size


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_slots_are_taken_than_there_are() -> None:
    slots, taken = PrioritySemaphore(Size(3)), list[int]()

    async def take(ticket: int) -> None:
        await slots.take(ticket)
        taken.append(ticket)

    tasks = [asyncio.create_task(take(ticket)) for ticket in range(5)]
    await turns()
    assert taken == [0, 1, 2]
    slots.give_back()
    await turns()
    assert taken == [0, 1, 2, 3]
    slots.give_back()
    await asyncio.gather(*tasks)
    assert slots.taken == 3


async def test_the_first_waiter_is_served_first_even_if_it_waits_again() -> None:
    slots, served = PrioritySemaphore(Size(1)), list[int]()
    await slots.take(0)

    async def take(ticket: int) -> None:
        await slots.take(ticket)
        served.append(ticket)
        slots.give_back()

    tasks = [asyncio.create_task(take(ticket)) for ticket in (5, 3, 9, 1)]
    await turns()
    slots.give_back()
    await asyncio.gather(*tasks)
    assert served == [1, 3, 5, 9]


async def test_slots_follow_a_size_that_changes() -> None:
    size = Size(4)
    slots = PrioritySemaphore(size)
    for ticket in range(4):
        await slots.take(ticket)
    waiting = [asyncio.create_task(slots.take(ticket)) for ticket in range(4, 8)]
    await turns()
    size.size = 2
    for taken in (3, 2, 2):
        slots.give_back()
        await turns()
        assert slots.taken == taken
    size.size = 8
    slots.give_back()
    await asyncio.gather(*waiting)
    assert (slots.taken, slots.spare) == (4, True)


@pytest.mark.parametrize("granted", [False, True])
async def test_a_waiter_cancelled_while_waiting_holds_no_slot(*, granted: bool) -> None:
    slots = PrioritySemaphore(Size(1))
    await slots.take(0)
    waiting = asyncio.create_task(slots.take(1))
    await turns()
    if granted:
        slots.give_back()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not granted:
        slots.give_back()
    assert slots.taken == 0
    await slots.take(2)
    assert slots.taken == 1
