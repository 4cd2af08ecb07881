"""Redraws in which every label has about as many rows as the user says: the shares of a task as counts.

Rules go first, bounds of the counts next, scores last. Without rules between the rows this is
a transportation problem, whose linear model has whole-numbered vertices; with rules it is the
model of `optimum` over all groups at once.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

from service.identifiers import Label, Row
from service.search.moves.redraw import Redrawn, redraw_groups
from service.search.predictions.scores import Scores
from service.search.rules.consistency import Labels
from service.search.rules.optimum import Counts, best_labelling, missed
from service.search.state.problem import Problem

STANDARD_ERRORS = 2.0  # by which a part's shares may differ from those of all rows: 95 of 100 parts keep within
TOLERANCE = 1e-9  # rows: 0.7 of 10 is 7, though not to a float


@dataclass(frozen=True, slots=True)
class Within:
    """Labels after a redraw within bounds.

    `missed` says by how many rows the counts still lie outside their bounds, which no
    labelling meets then, where `proven` says that it is the best.
    """

    labels: dict[Row, Label]
    proven: bool
    missed: int


def counts_for(problem: Problem, rows: Sequence[Row]) -> dict[Label, tuple[int, int]]:
    """The fewest and the most of these rows that may have a label by the problem's shares, rounded outwards.

    The shares are those of all rows of the problem; a part of them may well have others.
    """
    return counts_within(problem.shares, len(rows))


def counts_within(shares: Mapping[Label, tuple[float, float]], rows: int) -> dict[Label, tuple[int, int]]:
    """Shares as counts among `rows` rows, rounded outwards: a share of 0.4 of 7 rows is 2 or 3 of them."""
    return {
        label: (math.floor(least * rows + TOLERANCE), math.ceil(most * rows - TOLERANCE))
        for label, (least, most) in shares.items()
    }


def shares_of_part(
    shares: Mapping[Label, tuple[float, float]], known: Collection[Label], rows: int, all_rows: int
) -> dict[Label, tuple[float, float]]:
    """The least and the most share that labels have among a part of the rows, where `shares` are those of all rows.

    `known` are the labels of the part's known rows, `rows` of `all_rows` is how many rows it has. A part of
    n of N rows is like a sample drawn without replacement: a label with share p of all rows has
    a share of the part with a standard error of sqrt(p (1 - p) / n (1 - n / N)), and the bounds
    are two of them apart from p; for a part of all rows there is none. Known rows were not
    drawn but chosen: they are counted as they are, and the others are the sample of the rest.
    """
    free, all_free = rows - len(known), all_rows - len(known)
    counted, found = Counter(known), {}
    for label, bounds in shares.items():
        least, most = (_share_of_rest(share, counted[label], all_rows, all_free) for share in bounds)
        lower = counted[label] + free * max(0.0, least - _error(least, free, all_free))
        upper = counted[label] + free * min(1.0, most + _error(most, free, all_free))
        found[label] = (lower / rows, upper / rows)
    return found


def _share_of_rest(share: float, known: int, all_rows: int, all_free: int) -> float:
    """The label's share of the rows that are not known here, where `share` is that of all rows."""
    return min(1.0, max(0.0, (share * all_rows - known) / all_free)) if all_free else 0.0


def _error(share: float, drawn: int, all_rows: int) -> float:
    """How far a sample's share may be from that of all rows."""
    if not drawn:
        return 0.0
    return STANDARD_ERRORS * math.sqrt(share * (1 - share) / drawn * (1 - drawn / all_rows))


def redraw_within(
    problem: Problem, log_probabilities: Scores, bounds: Counts, *, labels: Labels = MappingProxyType({})
) -> Within:
    """The likeliest labelling that breaks no rule and has as many rows of each label as the bounds say.

    As in `redraw_groups` at temperature 0, the rows with log-probabilities are redrawn, those
    with labels alone keep them, and known rows have their known labels; all of these are
    counted. Labels without bounds are not. Bounds that no labelling meets are met as nearly as
    can be. A group that cannot be without conflict is labelled as without bounds.
    """
    drawn = redraw_groups(problem, labels, log_probabilities, temperature=0.0, rng=Random(0))
    if not missed(bounds, drawn.labels.values()):
        return Within(drawn.labels, proven=drawn.unproven_groups == 0, missed=0)
    free = _free(problem, drawn, log_probabilities)
    stay = {row: label for row, label in drawn.labels.items() if row not in free}
    start = {row: drawn.labels[row] for row in free}
    optimum = best_labelling(
        problem.constraints.of(free),
        {row: log_probabilities[row] for row in free},
        {**problem.known, **stay},
        start,
        _left(bounds, stay.values()),
    )
    found = drawn.labels | optimum.labels
    return Within(found, proven=optimum.proven, missed=missed(bounds, found.values()))


def _free(problem: Problem, drawn: Redrawn, scores: Scores) -> list[Row]:
    """The rows that may be labelled otherwise: with scores, not known, and in a group without conflict."""
    conflicts = problem.constraints.conflicts({**problem.known, **drawn.labels})
    stuck = {problem.constraints.group_of[conflict[0]] for conflict in conflicts}
    return [row for row in scores if row not in problem.known and problem.constraints.group_of[row] not in stuck]


def _left(bounds: Counts, labels: Iterable[Label]) -> Counts:
    """The bounds for the other rows, where these labels stay; below 0 where there are too many already."""
    counted = Counter(labels)
    return {label: (least - counted[label], most - counted[label]) for label, (least, most) in bounds.items()}
