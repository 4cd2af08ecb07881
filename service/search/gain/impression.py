"""Scores all rows once before the search has any labels of its own (the first impression).

Without known rows these are the language model's answers without demonstrations. Known rows add two things: they
show whether it reads the label words as the user means them, and they are demonstrations with right labels.
"""

import itertools
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from service.identifiers import Label
from service.search.measures.known_evidence import fit_nats, part_of_other
from service.search.measures.polarity import exchanged
from service.search.predictions import panel
from service.search.predictions.calibration import calibrated, even_shares
from service.search.predictions.panel import Panel
from service.search.predictions.scores import Scores
from service.search.prompting import planner
from service.search.prompting.views import View, behind_known
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Request, ask

_ALL_ORDERS_OF = 4  # labels; of more labels only exchanges of two are tried
# Known labels must be likelier by this much under another reading, beyond the gain from picking the best.
_DECISIVE_NATS = 2.0


@dataclass(frozen=True, slots=True)
class Impression:
    """Scores of all rows, and the panel that gave them; None if it is one look without demonstrations."""

    scores: Scores
    source: Panel | None = None


def first_impression(problem: Problem) -> Generator[Request, Answer, Impression]:
    """Score all rows without demonstrations, and behind the known rows if there are any.

    Known rows that the demonstrations leave out decide the weight of both looks.
    """
    [blind] = yield from ask(planner.behind(problem, (), {}, problem.rows))
    if not problem.known:
        return Impression(blind)
    views = yield from behind_known(problem)
    even = even_shares(problem.classes)
    reading = _reading_as_meant(problem, calibrated(blind, even))
    own = panel.read_as(blind, reading)
    shown = panel.pooled([view.scores for view in views], [1.0] * len(views), even)
    picked = math.log(len(_readings(problem.label_range))) if reading else 0.0
    part = 1 - part_of_other(problem, shown, own, even, handicap_nats=picked)
    scores = panel.pooled([own, shown], [1 - part, part], even)
    return Impression(scores, _source(problem, reading, [View((), own), *views], part))


def _source(problem: Problem, reading: tuple[Label, ...], views: Sequence[View], part: float) -> Panel:
    """The panel of the look without demonstrations, in this reading, and of the looks behind known rows, by weight."""
    weights = [1 - part, *[part / (len(views) - 1)] * (len(views) - 1)]
    order = sorted(range(len(views)), key=lambda number: -weights[number])
    shown = [[(row, problem.known[row]) for row in views[number].demonstrations] for number in order]
    view_scores = [views[number].scores for number in order]
    fitted = panel.fit(shown, view_scores, [weights[number] for number in order], even_shares(problem.classes))
    members = [
        replace(member, reading=() if number else reading) for number, member in zip(order, fitted.members, strict=True)
    ]
    return replace(fitted, members=tuple(members))


def _reading_as_meant(problem: Problem, scores: Scores) -> tuple[Label, ...]:
    """The reading of the label words that the known labels confirm; empty if each word stands for itself.

    A language model may mistake a label word for its opposite. Among many readings one fits by chance, so
    the best must be likelier by more than the number of readings explains.
    """
    own, *others = readings = _readings(problem.label_range)
    best = max(others, key=lambda reading: fit_nats(problem, panel.read_as(scores, reading)))
    gained = fit_nats(problem, panel.read_as(scores, best)) - fit_nats(problem, panel.read_as(scores, own))
    return best if gained >= _DECISIVE_NATS + math.log(len(readings)) else ()


def _readings(labels: tuple[Label, ...]) -> list[tuple[Label, ...]]:
    """Orders of the label set, the given one first: the label at a place is read from the word that stands there."""
    if len(labels) <= _ALL_ORDERS_OF:
        return list(itertools.permutations(labels))
    return [labels, *(exchanged(labels, *pair) for pair in itertools.combinations(labels, 2))]
