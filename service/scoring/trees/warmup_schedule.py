"""The order in which a tree's leaves are asked for, so that a prefix cache is used as it is meant.

Servers keep a prefix only once a request that has it has ended (text-generation-inference), or
miss it when cold requests arrive together. So where several prompts share a beginning, one of
them goes alone. Once it has answered, every segment on its path is warm, and what branches off
that path starts at once, each branch again with one leaf first. Among what may start the
earliest in depth-first order does, so that few paths are in the cache at a time.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence

from service.scoring.calls.gather import task_group
from service.scoring.trees.flat_tree import Layout

WORTH_A_ROUND_CHARACTERS = 1_000  # about 250 tokens: computed in the time that one more round of calls takes

Group = Sequence[int]  # leaves that are asked for in one call
Ask = Callable[[Group, Callable[[], None]], Awaitable[None]]


class Walk:
    """Asks for every leaf of a tree once.

    `ask` is awaited for each group and calls what it is given once the group's prompts are in
    the server's cache. `slots` says how many groups may be under way just now, `grouped` puts
    the leaves right behind one segment into groups. A beginning is warmed up where the others
    that share it would compute at least `worth_characters` again.
    """

    def __init__(
        self,
        layout: Layout,
        ask: Ask,
        *,
        slots: Callable[[], int],
        grouped: Callable[[Group], Sequence[Group]],
        worth_characters: int = WORTH_A_ROUND_CHARACTERS,
    ) -> None:
        self._layout = layout
        self._ask = ask
        self._slots = slots
        self._grouped = grouped
        self._worth_characters = worth_characters
        self._leaves, self._longest = _measured(layout)
        self._ready: list[tuple[int, Group, Sequence[int]]] = []  # first leaf, all leaves, segments that get warm
        self._under_way = 0

    async def run(self) -> None:
        """Returns once every group has been asked for. Raises the error of whichever fails first."""
        async with task_group() as tasks:
            self._release([0])
            self._start(tasks)

    def _start(self, tasks: asyncio.TaskGroup) -> None:
        while self._ready and self._under_way < max(1, self._slots()):
            _, group, warmed = heapq.heappop(self._ready)
            self._under_way += 1
            tasks.create_task(self._one(group, warmed, tasks))

    async def _one(self, group: Group, warmed: Sequence[int], tasks: asyncio.TaskGroup) -> None:
        def warm() -> None:
            self._branch_off(group, warmed)
            self._start(tasks)

        await self._ask(group, warm)
        self._under_way -= 1
        self._start(tasks)

    def _release(self, segments: Sequence[int]) -> None:
        """Make ready what is behind these segments, whose parents are warm or not worth warming."""
        ahead = list(segments)
        while ahead:
            place = ahead.pop()
            segment = self._layout.segments[place]
            others = max(0, self._leaves[place] - 1)
            if others and len(segment.text) * others >= self._worth_characters:
                path = self._path_down(place)
                first = self._layout.segments[path[-1]].leaves[0]
                heapq.heappush(self._ready, (first, [first], path))
            else:
                self._push(segment.leaves)
                ahead += segment.children

    def _branch_off(self, group: Group, warmed: Sequence[int]) -> None:
        """Make ready what is behind these segments and was not asked for in order to warm them."""
        on_path = set(warmed)
        for place in warmed:
            segment = self._layout.segments[place]
            self._push([leaf for leaf in segment.leaves if leaf not in group])
            self._release([child for child in segment.children if child not in on_path])

    def _push(self, leaves: Group) -> None:
        for group in self._grouped(leaves) if leaves else ():
            heapq.heappush(self._ready, (group[0], group, ()))

    def _path_down(self, place: int) -> list[int]:
        """The segments down to the one with leaves whose path is longest, which warms most."""
        path = [place]
        while children := [child for child in self._layout.segments[path[-1]].children if self._leaves[child]]:
            path.append(max(children, key=self._longest.__getitem__))
        return path


def _measured(layout: Layout) -> tuple[list[int], list[int]]:
    """For each segment the leaves behind it, and the characters of the longest path down from it to one."""
    leaves, longest = [0] * len(layout.segments), [0] * len(layout.segments)
    for place in reversed(range(len(layout.segments))):
        segment = layout.segments[place]
        leaves[place] = len(segment.leaves) + sum(leaves[child] for child in segment.children)
        below = [longest[child] for child in segment.children if leaves[child]]
        longest[place] = len(segment.text) + max(below, default=0)
    return leaves, longest
