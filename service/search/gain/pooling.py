"""Pools the predictions of several views and of the first impression, each by its weight."""

import math
from dataclasses import dataclass

from service.search.measures.gain import gain_utility, impression_weight, mean_gain, view_weight
from service.search.measures.known_evidence import part_of_other
from service.search.moves.relabelling import cautious, expected_shares, within_bounds
from service.search.predictions import panel
from service.search.predictions.calibration import Shares, label_shares
from service.search.predictions.gap import shares_shown
from service.search.predictions.panel import Panel
from service.search.predictions.scores import Scores
from service.search.prompting.views import View
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem
from service.search.state.steps import Candidate, State


def measured(problem: Problem, labels: Labels, views: list[View], impression: Scores | None) -> Candidate:
    """The labelling with its gain by the views, and their prediction pooled with the impression's, if given.

    Only the start that began with the impression includes it, so that other starts reach its labels independently.
    """
    gain_nats = mean_gain(labels, [view.scores for view in views], problem.classes)
    fitted = pool(problem, labels, views, impression)
    return Candidate(dict(labels), fitted.scores, gain_utility(problem, labels, gain_nats))


@dataclass(frozen=True, slots=True)
class Pool:
    """A panel, the scores by each member, and the pooled scores."""

    panel: Panel
    view_scores: list[Scores]
    scores: Scores

    def whole(self, state: State) -> Panel:
        """The panel with all members of the impression, so that later shards can be scored by each."""
        places = [place for place, scores in enumerate(self.view_scores) if scores is state.impression]
        return self.panel.with_source(places[0], state.source) if places and state.source else self.panel


def pool(
    problem: Problem, labels: Labels, views: list[View], impression: Scores | None, part: float | None = None
) -> Pool:
    """The panel of the views and the impression, the weightiest first.

    The panel is calibrated to the likely shares of the next labels. Known rows measure the
    weight of the impression better than its gain does; `part` is the views' weight if an earlier step measured it.
    """
    weights = [view_weight(labels, view.scores, problem.classes) for view in views]
    looks = [view.scores for view in views]
    shares = likely_shares(problem, labels, looks if impression is None else [*looks, impression])
    known: Scores = {}
    if impression is not None and problem.known:
        together = panel.pooled([view.scores for view in views], weights, shares)
        part = part_of_other(problem, impression, together, shares) if part is None else part
        total = math.fsum(weights)
        weights = [part * weight / total for weight in weights]
        views, weights = [*views, View((), impression)], [*weights, 1 - part]
        mixed = panel.pooled([impression, together], [1 - part, part], shares)
        known = {row: mixed[row] for row in problem.known if row in mixed}
    elif impression is not None:
        own = impression_weight(labels, impression, problem.classes, weights)
        views, weights = [*views, View((), impression)], [*weights, own]
    members = sorted(zip(views, weights, strict=True), key=lambda member: -member[1])
    shown = [[(row, labels[row]) for row in view.demonstrations] for view, _ in members]
    view_scores = [view.scores for view, _ in members]
    fitted = panel.fit(shown, view_scores, [weight for _, weight in members], shares)
    return Pool(fitted, view_scores, {**fitted.scores(view_scores), **known})


def likely_shares(problem: Problem, labels: Labels, looks: list[Scores]) -> Shares:
    """The likely shares of the next labels: those that a gap between the predictions shows, or else assumed ones.

    The search assumes shares halfway between those of the last labels and even ones; without labels, even ones.
    """
    shares = label_shares(labels, labels, problem.classes)
    assumed = expected_shares(problem, cautious(shares, len(labels)) if problem.known and labels else shares)
    return within_bounds(problem, shares_shown(pooled_equally(looks, assumed), assumed))


def pooled_equally(views: list[Scores], shares: Shares) -> Scores:
    """The pooled scores of views with equal weights."""
    return panel.pooled(views, [1.0] * len(views), shares)
