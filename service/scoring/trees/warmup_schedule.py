"""Schedules the calls of a prompt tree so that shared prefixes are in the server's prefix cache when needed.

Servers store a prefix only when a request with it has ended (text-generation-inference), or miss
it if cold requests arrive together. So if several prompts share a prefix, the schedule first sends
one of them alone. Once the server has answered it, every segment on its path is warm. Then all
branches off that path start at once, each again with one leaf first. Among the calls that are
ready, the first in depth-first order starts, so that few paths are in the cache at a time.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence

from service.scoring.calls.gather import task_group
from service.scoring.trees.flat_tree import FlatTree

WORTH_A_ROUND_CHARACTERS = 1_000  # about 250 tokens, which a server computes in the time of one more round of calls

Group = Sequence[int]  # leaves that one call scores
Ask = Callable[[Group, Callable[[], None]], Awaitable[None]]


class WarmupSchedule:
    """Runs the schedule: asks for every leaf of a tree exactly once.

    `ask` scores a group, and calls its second argument once the group's prompts are in the server's
    cache. `slots` gives the number of groups that may be in flight now; `grouped` divides the leaves
    right behind one segment into groups. The schedule warms up a prefix only if the other prompts that
    share it would otherwise compute at least `worth_characters` again.
    """

    def __init__(
        self,
        flat_tree: FlatTree,
        ask: Ask,
        *,
        slots: Callable[[], int],
        grouped: Callable[[Group], Sequence[Group]],
        worth_characters: int = WORTH_A_ROUND_CHARACTERS,
    ) -> None:
        self._tree = flat_tree
        self._ask = ask
        self._slots = slots
        self._grouped = grouped
        self._worth_characters = worth_characters
        self._leaves, self._longest = _measured(flat_tree)
        self._ready: list[tuple[int, Group, Sequence[int]]] = []  # first leaf, all leaves, segments that they warm up
        self._under_way = 0

    async def run(self) -> None:
        """Run until every group has been asked for. Raises the error of a group that fails."""
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
        """Add the calls behind these segments, whose parents are warm or not worth warming up."""
        ahead = list(segments)
        while ahead:
            place = ahead.pop()
            segment = self._tree.segments[place]
            others = max(0, self._leaves[place] - 1)
            if others and len(segment.text) * others >= self._worth_characters:
                path = self._path_down(place)
                first = self._tree.segments[path[-1]].leaves[0]
                heapq.heappush(self._ready, (first, [first], path))
            else:
                self._push(segment.leaves)
                ahead += segment.children

    def _branch_off(self, group: Group, warmed: Sequence[int]) -> None:
        """Add the calls behind these warm segments, except for the group that has warmed them up."""
        on_path = set(warmed)
        for place in warmed:
            segment = self._tree.segments[place]
            self._push([leaf for leaf in segment.leaves if leaf not in group])
            self._release([child for child in segment.children if child not in on_path])

    def _push(self, leaves: Group) -> None:
        for group in self._grouped(leaves) if leaves else ():
            heapq.heappush(self._ready, (group[0], group, ()))

    def _path_down(self, place: int) -> list[int]:
        """The longest path from this segment down to one with leaves, since that warms up most."""
        path = [place]
        while children := [child for child in self._tree.segments[path[-1]].children if self._leaves[child]]:
            path.append(max(children, key=self._longest.__getitem__))
        return path


def _measured(flat_tree: FlatTree) -> tuple[list[int], list[int]]:
    """For each segment: the number of leaves below it, and the characters of the longest path down to a leaf."""
    leaves, longest = [0] * len(flat_tree.segments), [0] * len(flat_tree.segments)
    for place in reversed(range(len(flat_tree.segments))):
        segment = flat_tree.segments[place]
        leaves[place] = len(segment.leaves) + sum(leaves[child] for child in segment.children)
        below = [longest[child] for child in segment.children if leaves[child]]
        longest[place] = len(segment.text) + max(below, default=0)
    return leaves, longest
