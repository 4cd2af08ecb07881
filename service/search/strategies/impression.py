"""Scores all rows once before the search has any labels of its own (the first impression).

Without known rows that is its answers without demonstrations. Known rows say more: whether the language model
reads the label words as the user means them, and what it makes of the rows behind demonstrations that are right.
"""

import itertools
import math
import statistics
from collections.abc import Generator, Sequence

from service.identifiers import Label
from service.search.measures.gain import LEAST_WEIGHT
from service.search.predictions import panel
from service.search.predictions.calibration import calibrated, even_shares
from service.search.predictions.scores import Scores
from service.search.prompting import planner
from service.search.prompting.views import behind_known
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Request, ask

_FEWEST = 2  # known rows, of which there is a standard error
_ALL_ORDERS_OF = 4  # labels; of more labels only exchanges of two are tried
_DECISIVE_NATS = 2.0  # by which the known labels must be likelier under another reading, beyond its having been picked


def first_impression(problem: Problem) -> Generator[Request, Answer, Scores]:
    """Scores of all rows: one view without demonstrations, and some behind the known rows where there are any."""
    [blind] = yield from ask(planner.behind(problem, (), {}, problem.rows))
    if not problem.known:
        return blind
    views = yield from behind_known(problem, problem.random("known"))
    even = even_shares(problem.classes)
    shown = [calibrated(view.scores, even) for view in views]
    own = _read_as_meant(problem, blind)
    left_out = {row: scores[row] for scores in shown for row in problem.known if row in scores}
    weights = [_worth(problem, calibrated(own, even)), *[_worth(problem, left_out) / len(shown)] * len(shown)]
    told = [own, *shown]
    return panel.fit([()] * len(told), told, weights, even).scores(told)


def _worth(problem: Problem, told: Scores) -> float:
    """What scores tell of the known labels, nats a row, less a standard error: a few rows may be right by chance.

    The views behind known rows are one source, since each asks for a few of these only.
    """
    gained = [told[row][label] + math.log(problem.classes) for row, label in problem.known.items() if row in told]
    if len(gained) < _FEWEST:
        return LEAST_WEIGHT
    return max(LEAST_WEIGHT, statistics.fmean(gained) - statistics.stdev(gained) / math.sqrt(len(gained)))


def _read_as_meant(problem: Problem, blind: Scores) -> Scores:
    """The scores under the reading of the label words that the known labels bear out.

    A language model may take a label word for its opposite. Of many readings one fits by chance, so
    the best must be likelier by more than the number of readings explains.
    """
    told = calibrated(blind, even_shares(problem.classes))
    own, *others = readings = _readings(problem.label_range)
    best = max(others, key=lambda reading: _fit_nats(problem, told, reading))
    gained = _fit_nats(problem, told, best) - _fit_nats(problem, told, own)
    if gained < _DECISIVE_NATS + math.log(len(readings)):
        return blind
    return {row: tuple(values[label] for label in best) for row, values in told.items()}


def _readings(labels: Sequence[Label]) -> list[tuple[Label, ...]]:
    """Orders of the label set, the given one first: the place of a label says which word stands for it."""
    if len(labels) <= _ALL_ORDERS_OF:
        return list(itertools.permutations(labels))
    exchanges = [{one: other, other: one} for one, other in itertools.combinations(labels, 2)]
    return [tuple(labels), *(tuple(exchange.get(label, label) for label in labels) for exchange in exchanges)]


def _fit_nats(problem: Problem, told: Scores, reading: Sequence[Label]) -> float:
    """log p of the known labels under a reading, nats."""
    return math.fsum(told[row][reading[label]] for row, label in problem.known.items())
