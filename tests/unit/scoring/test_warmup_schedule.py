"""The order in which leaves are requested, in rounds: all requests in flight are answered at once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Row
from service.scoring.trees.flat_tree import FlatTree, flatten
from service.scoring.trees.warmup_schedule import Group, WarmupSchedule
from service.search.predictions.prompt_tree import PromptTree, Query
from tests.long import examples
from tests.unit.scoring.toy_trees import chained, halves, trees


@dataclass
class Rounds:
    """Answers all requests in flight, then collects new ones; records those of each round."""

    flat_tree: FlatTree
    asked: list[list[int]] = field(default_factory=list)
    _now: list[tuple[Group, asyncio.Event]] = field(default_factory=list)

    async def ask(self, group: Group, warm: Callable[[], None]) -> None:
        answered = asyncio.Event()
        self._now.append((group, answered))
        await answered.wait()
        warm()

    async def answer_all(self, walk: WarmupSchedule) -> None:
        running = asyncio.create_task(walk.run())
        for _ in range(1_000):
            for _ in range(20):  # until nothing more comes by itself
                await asyncio.sleep(0)
            if running.done():
                break
            now, self._now = self._now, []
            self.asked.append([leaf for group, _ in now for leaf in group])
            for _, answered in now:
                answered.set()
        await running


def rounds_of(tree: PromptTree, *, slots: int = 1_000, worth_characters: int = 0) -> list[list[int]]:
    flat_tree = flatten(tree)
    rounds = Rounds(flat_tree)
    walk = WarmupSchedule(
        flat_tree,
        rounds.ask,
        slots=lambda: slots,
        grouped=lambda leaves: [[leaf] for leaf in leaves],
        worth_characters=worth_characters,
    )
    asyncio.run(rounds.answer_all(walk))
    return rounds.asked


@settings(max_examples=examples(100), deadline=None)
@given(tree=trees(), slots=st.integers(1, 5), worth=st.sampled_from([0, 30, 10**9]))
def test_every_leaf_is_requested_once(tree: PromptTree, slots: int, worth: int) -> None:
    rounds = rounds_of(tree, slots=slots, worth_characters=worth)
    count = len(flatten(tree).leaves)
    assert sorted(leaf for asked in rounds for leaf in asked) == list(range(count))
    assert all(len(asked) <= slots for asked in rounds)


@pytest.mark.parametrize(("rows", "depth"), [(2, 1), (16, 4), (64, 6)])
def test_a_binary_tree_takes_as_many_rounds_as_it_is_deep_and_one(rows: int, depth: int) -> None:
    rounds = rounds_of(halves(range(rows)))
    assert len(rounds[0]) == 1
    assert len(rounds) == depth + 1


def test_a_chain_takes_two_rounds_since_its_deepest_leaf_warms_all_of_it() -> None:
    assert [len(asked) for asked in rounds_of(chained(20))] == [1, 19]


def test_queries_behind_one_prefix_wait_for_the_first_of_them() -> None:
    tree = PromptTree("shared", tuple(Query(Row(row), f"q{row}") for row in range(5)))
    assert rounds_of(tree) == [[0], [1, 2, 3, 4]]


def test_nothing_waits_where_hardly_anything_is_shared() -> None:
    tree = PromptTree("shared", tuple(Query(Row(row), f"q{row}") for row in range(5)))
    assert rounds_of(tree, worth_characters=6 * 4 + 1) == [[0, 1, 2, 3, 4]]


def test_branches_of_a_short_beginning_are_warmed_up_each_by_itself() -> None:
    branches = tuple(
        PromptTree("a long text", tuple(Query(Row(3 * branch + n), f"q{n}") for n in range(3))) for branch in range(2)
    )
    assert rounds_of(PromptTree("", (), branches), worth_characters=20) == [[0, 3], [1, 2, 4, 5]]


def test_with_one_slot_the_order_is_depth_first() -> None:
    assert rounds_of(halves(range(16)), slots=1) == [[leaf] for leaf in range(16)]


def test_prompts_start_in_depth_first_order() -> None:
    first, *others = rounds_of(halves(range(16)), slots=2)
    assert first == [0]
    asked = [leaf for pair in others for leaf in pair]
    assert all(abs(place - leaf) <= 4 for place, leaf in enumerate(asked, 1))


def test_a_deep_tree_is_scheduled() -> None:
    tree = PromptTree("leaf", (Query(Row(0), "q"), Query(Row(1), "r")))
    for _ in range(3_000):
        tree = PromptTree("x", (), (tree,))
    assert rounds_of(tree) == [[0], [1]]
    while tree.children:  # taken apart from the top, since freeing it whole would nest as deeply
        (tree,) = tree.children


def prompts_of(flat_tree: FlatTree) -> Sequence[tuple[Row, str]]:
    return [(leaf.row, flat_tree.prompt(number)) for number, leaf in enumerate(flat_tree.leaves)]


@settings(max_examples=examples(100), deadline=None)
@given(tree=trees(), count=st.integers(1, 40))
def test_a_layout_has_the_prompts_of_its_tree(tree: PromptTree, count: int) -> None:
    flat_tree = flatten(tree)
    assert prompts_of(flat_tree) == list(tree.prompts())
    for number, (_, prompt) in enumerate(tree.prompts()):
        assert flat_tree.last_characters(number, count) == prompt[-count:]
    lengths = [len(prompt) for _, prompt in tree.prompts()]
    if lengths:
        assert lengths[flat_tree.longest_leaf()] == max(lengths)
