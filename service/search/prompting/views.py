"""Scores rows by views: each view is one short random draw of demonstrations, behind which it scores all other rows.

Every view shows other demonstrations, in another order and number, so that views err for
different reasons. No view scores a row behind its own label or that of a related row.
"""

from collections import Counter
from collections.abc import Container, Generator, Sequence
from dataclasses import dataclass
from random import Random

from service.identifiers import Row
from service.search.predictions.scores import Scores
from service.search.prompting import planner
from service.search.prompting.demonstrations import balanced_order, has_room
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Request, ask

SWEEP_SIZES = (8, 16, 32, 64)  # demonstrations of a sweep's views; how many help differs from task to task
QUICK_SIZES = (8, 32)  # of the start from random labels, which takes more sweeps
FINAL_SIZES = (8, 8, 8, 16, 16, 32)  # of the views whose pooled prediction is the result
KNOWN_SIZES = (0,) * 4  # the same, where views show only known rows, each several times
_KNOWN_PARTS = 4  # a view leaves one part of the known rows out, scores these, and can be tested by them
_MOST_SHOWINGS = 4  # of a known row in one view: a label that means nothing by itself is learned by repetition
_KNOWN_DEMONSTRATIONS = 64  # a view with this many known rows repeats none of them


@dataclass(frozen=True, slots=True)
class View:
    """The demonstrations of one view in the order of the prompt, and the scores of the rows not related to them."""

    demonstrations: tuple[Row, ...]
    scores: Scores


def behind_known(problem: Problem) -> Generator[Request, Answer, list[View]]:
    """Views of all rows behind the known rows alone; each leaves out a part of the known rows and scores these."""
    shown = [known_before(problem, number) for number in range(len(_parts(problem)))]
    return (yield from _scored(problem, problem.known, shown, problem.rows))


def look(
    problem: Problem, labels: Labels, sizes: Sequence[int], rng: Random, *, whole: bool = False
) -> Generator[Request, Answer, list[View]]:
    """One view of all labelled rows for each number of demonstrations: about N L tokens computed for each.

    A view shows at most half of the rows, so that it can score the others. Known rows stand first. The first
    views leave out one part of the known rows each, until each part was left out once; later views, and all if
    `whole`, show every known row.
    """
    first = len(_parts(problem)) if whole else 0
    shown = [
        draw(problem, labels, min(size, max(1, len(labels) // 2)), rng, number)
        for number, size in enumerate(sizes, start=first)
    ]
    return (yield from _scored(problem, labels, shown, list(labels)))


def _scored(
    problem: Problem, labels: Labels, shown: Sequence[Sequence[Row]], rows: Sequence[Row]
) -> Generator[Request, Answer, list[View]]:
    queries = [unrelated(problem, rows, demonstrations) for demonstrations in shown]
    trees = [planner.behind(problem, some, labels, others) for some, others in zip(shown, queries, strict=True)]
    answers = yield from ask(*trees)
    return [View(tuple(some), scores) for some, scores in zip(shown, answers, strict=True)]


def _parts(problem: Problem) -> list[list[Row]]:
    """Divide the known rows into parts with similar label shares; related rows share one if there are enough groups."""
    if not problem.known:
        return []
    rng = problem.random("known")
    groups = [[row for row in group if row in problem.known] for group in problem.groups]
    units = [unit for unit in groups if unit]
    if len(units) < _KNOWN_PARTS:
        units = [[row] for row in problem.known]
    dealt = sorted(rng.sample(units, len(units)), key=lambda unit: problem.known[unit[0]])
    count = min(_KNOWN_PARTS, len(units))
    return [[row for unit in dealt[number::count] for row in unit] for number in range(count)]


def known_before(problem: Problem, number: int, among: Container[Row] | None = None) -> list[Row]:
    """The known rows that stand first in the view of this number, each several times if they are few.

    They are the same ones in the same order in every look, so that a prefix cache holds them. Repetitions fill
    at most half of the room.
    """
    parts = _parts(problem)
    left_out = parts[number] if number < len(parts) else []
    rows = [row for row in problem.known if row not in left_out and (among is None or row in among)]
    rng, shown = problem.random("known", number), list[Row]()
    for _ in range(_MOST_SHOWINGS):
        again = [*shown, *rng.sample(rows, len(rows))]
        if shown and (len(again) > _KNOWN_DEMONSTRATIONS or not has_room(problem, again + again)):
            break
        shown = again
    return _fitting(problem, shown)


def _fitting(problem: Problem, rows: Sequence[Row]) -> list[Row]:
    """The first of these rows, as many as fit a prompt."""
    kept = list(rows)
    while not has_room(problem, kept):
        kept.pop()
    return kept


def draw(problem: Problem, labels: Labels, size: int, rng: Random, number: int = 0) -> list[Row]:
    """Draw a view's demonstrations: known rows first, then up to `size` others, balanced over the labels.

    A language model follows the label that most demonstrations have, so they are balanced. It also follows
    the order of labels, so the order is random. A view shows at most half of a label's rows, so that it scores
    rows with a rare label, too; it shows the single row of a label only if every label has just one.
    `number` is that of the view in `known_before`.
    """
    first = known_before(problem, number, labels)
    drawn: list[Row] = []
    counts = Counter(labels.values())
    has_pairs = any(count > 1 for count in counts.values())
    left = {label: count // 2 if has_pairs else 1 for label, count in counts.items()}
    for row in balanced_order(problem, labels, rng):
        if len(drawn) == size or not has_room(problem, [*first, *drawn, row]):
            break
        if row not in problem.known and left[labels[row]]:
            drawn.append(row)
            left[labels[row]] -= 1
    return first + rng.sample(drawn, len(drawn))


def unrelated(problem: Problem, rows: Sequence[Row], shown: Sequence[Row]) -> list[Row]:
    """The rows that no relation ties to a demonstration, so that no demonstration gives a label away.

    If relations tie more than half of the rows together, only the demonstrations themselves are left
    out: otherwise there would be hardly any row to score.
    """
    group_of = problem.constraints.group_of
    related = {row for mate in shown for row in group_of[mate] if 2 * len(group_of[mate]) <= len(rows)}
    left_out = related.union(shown)
    return [row for row in rows if row not in left_out]
