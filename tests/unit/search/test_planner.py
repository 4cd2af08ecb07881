import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import PromptTree
from service.search.prompting import evaluation, planner
from service.search.state.problem import Problem
from tests.long import examples


def problem_of(count: int, *, prefix: str = "", budget: int | None = None) -> Problem:
    texts = {Row(row): f"row {row}" for row in range(count)}
    tokens = dict.fromkeys(texts, 1)
    return Problem(
        texts=texts, labels=("A", "B"), separator="\n", prefix=prefix, demonstration_tokens=tokens, budget_tokens=budget
    )


def demonstrations_before(prompt: str) -> Counter[str]:
    """The demonstrations of a prompt, whatever their order."""
    return Counter(prompt.split("\n")[:-1])


def length(tree: PromptTree) -> int:
    """Demonstrations in all nodes: what an ideal prefix cache computes, in rows."""
    return tree.text.count("\n") + sum(map(length, tree.children))


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.sampled_from([0, 1, None]), min_size=1, max_size=20))
def test_leave_one_out_conditions_each_row_on_exactly_all_other_labels(choice: list[int | None]) -> None:
    problem = problem_of(len(choice), prefix="anchor A\n")
    labels = {Row(row): Label(label) for row, label in enumerate(choice) if label is not None}
    tree = planner.leave_one_out(problem, problem.rows, labels)
    prompts = dict(tree.prompts())
    assert set(prompts) == set(problem.rows)
    for row, prompt in prompts.items():
        others = [problem.demonstration(other, label) for other, label in labels.items() if other != row]
        assert demonstrations_before(prompt) == Counter(["anchor A", *(text.strip("\n") for text in others)])
        assert prompt.endswith(f"row {row}")


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 5))
def test_held_out_rows_never_see_their_own_part(count: int, parts: int, outside: int) -> None:
    problem = problem_of(count + outside)
    labels = {row: Label(row % 2) for row in problem.rows}
    inside, also = problem.rows[:count], problem.rows[count:]
    folds = [inside[start::parts] for start in range(parts) if inside[start::parts]]
    prompts = dict(planner.held_out(problem, folds, labels, also=also).prompts())
    for fold in folds:
        expected = Counter(problem.demonstration(row, labels[row]).strip("\n") for row in inside if row not in fold)
        assert all(demonstrations_before(prompts[row]) == expected for row in fold)
    everything = Counter(problem.demonstration(row, labels[row]).strip("\n") for row in inside)
    assert all(demonstrations_before(prompts[row]) == everything for row in also)


@pytest.mark.parametrize("count", [2, 8, 64, 256])
def test_leave_one_out_costs_n_log_n_demonstrations(count: int) -> None:
    problem = problem_of(count)
    labels = dict.fromkeys(problem.rows, Label(0))
    assert length(planner.leave_one_out(problem, problem.rows, labels)) == count * math.log2(count)


@pytest.mark.parametrize("folds", [2, 4, 8])
def test_folds_cost_a_number_of_demonstrations_per_row_that_does_not_grow(folds: int) -> None:
    problem = problem_of(256)
    labels = dict.fromkeys(problem.rows, Label(0))
    parts = [problem.rows[start::folds] for start in range(folds)]
    assert length(planner.held_out(problem, parts, labels)) == 256 * math.log2(folds)


def test_no_prompt_holds_more_demonstrations_than_the_budget() -> None:
    problem = problem_of(20, budget=7)
    labels = dict.fromkeys(problem.rows, Label(0))
    [tree] = next(evaluation.leave_one_out(problem, labels))
    prompts = dict(tree.prompts())
    assert set(prompts) == set(problem.rows)
    assert max(prompt.count("\n") for prompt in prompts.values()) == 7


def test_the_prefix_stands_before_everything_that_is_asked() -> None:
    problem = problem_of(6, prefix="anchor A\n")
    labels = dict.fromkeys(problem.rows, Label(1))
    parts, also = [problem.rows[:2], problem.rows[2:4]], problem.rows[4:]
    prompts = dict(planner.held_out(problem, parts, labels, also=also).prompts())
    assert set(prompts) == set(problem.rows)
    assert all(prompt.startswith("anchor A\n") for prompt in prompts.values())
    assert demonstrations_before(prompts[Row(0)]) == Counter(["anchor A", "row 2 B", "row 3 B"])


def test_a_chain_shows_every_row_the_labels_before_it() -> None:
    problem = problem_of(4, prefix="anchor A\n")
    labels = {row: Label(row % 2) for row in problem.rows}
    prompts = dict(planner.chain(problem, [Row(2), Row(0), Row(3)], labels).prompts())
    assert prompts == {
        2: "anchor A\nrow 2",
        0: "anchor A\nrow 2 A\nrow 0",
        3: "anchor A\nrow 2 A\nrow 0 A\nrow 3",
    }
