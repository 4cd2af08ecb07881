"""Redraws all rows so that each label gets about as many rows as the user's shares say.

Rules come first, the bounds of the counts second, scores last. Without rules between the rows this is
a transportation problem, whose linear model has integral vertices. With rules it is the model of
`optimum` over all groups at once.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from service.identifiers import Label, Row
from service.search.moves.redraw import Redrawn, redraw_groups
from service.search.predictions.scores import Scores
from service.search.rules.consistency import Labels
from service.search.rules.optimum import Counts, best_labelling, missed
from service.search.state.problem import Problem

STANDARD_ERRORS = 2.0  # a part's shares may differ by this many from those of all rows: 95 of 100 parts differ less
TOLERANCE = 1e-9  # rows: 0.7 of 10 is 7, but floating-point arithmetic gives slightly more or less


@dataclass(frozen=True, slots=True)
class BoundedRedraw:
    """Labels after a redraw within bounds.

    `missed` is the number of rows by which the counts still lie outside their bounds. If `proven`
    is True, no labelling comes closer.
    """

    labels: dict[Row, Label]
    proven: bool
    missed: int


def counts_within(shares: Mapping[Label, tuple[float, float]], rows: int) -> dict[Label, tuple[int, int]]:
    """Convert shares to bounds of counts among `rows` rows, rounded outwards: a share of 0.4 of 7 rows is 2 to 3."""
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
) -> BoundedRedraw:
    """The likeliest labelling that breaks no rule and in which the count of each label lies within its bounds.

    As in `redraw_groups` without randomness, rows with log-probabilities get new labels, rows
    that only have a label keep it, and known rows have their known labels. The counts include
    all of these rows. If no labelling meets the bounds, the result comes as close as possible. A
    group that has a conflict in every labelling is labelled as if there were no bounds.
    """
    drawn = redraw_groups(problem, labels, log_probabilities)
    if not missed(bounds, drawn.labels.values()):
        return BoundedRedraw(drawn.labels, proven=drawn.unproven_groups == 0, missed=0)
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
    return BoundedRedraw(found, proven=optimum.proven, missed=missed(bounds, found.values()))


def _free(problem: Problem, drawn: Redrawn, scores: Scores) -> list[Row]:
    """The rows whose label may change: they have scores, are not known, and their group has no conflict."""
    conflicts = problem.constraints.conflicts({**problem.known, **drawn.labels})
    stuck = {problem.constraints.group_of[conflict[0]] for conflict in conflicts}
    return [row for row in scores if row not in problem.known and problem.constraints.group_of[row] not in stuck]


def _left(bounds: Counts, labels: Iterable[Label]) -> Counts:
    """The bounds left for the other rows if these labels stay; below 0 if a label has too many rows already."""
    counted = Counter(labels)
    return {label: (least - counted[label], most - counted[label]) for label, (least, most) in bounds.items()}
