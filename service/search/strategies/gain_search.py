"""Strategy `folds` under its default objective `gain`: relabels all rows sweep by sweep, by pooled, calibrated views.

A sweep scores all rows behind several short draws of the current labels (views.py). That gives the
labelling's gain, out of sample, and the pooled prediction from which it draws the next labelling. One
start begins with the language model's first impression: its answers without demonstrations, calibrated.
Another begins with random labels, for language models whose first impression says nothing.

The first impression is the only evidence of what the label words mean. So its start wins unless another
gains far more. Where demonstrations do not bear it out and no start gains far more, the search has
found nothing, and the labels of the impression stand.

Known rows are evidence of another kind: left out of the prompts in turn, they say of every prediction how right it
is. Where there are any, the impression has the language model's answers behind them, there is no start from random
labels, and labels found are shown behind the known rows only if they predict these no worse than the impression.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.identifiers import Label, Row
from service.search.measures.agreement import agreement, share_of_equal_labels
from service.search.measures.expected_accuracy import expected_accuracy
from service.search.measures.gain import gain_utility, impression_weight, mean_gain, view_weight
from service.search.measures.gain_audit import audit_gain
from service.search.measures.known_evidence import EARNED_NATS, fit_nats, part_of_other
from service.search.measures.ranking import measured_labellings
from service.search.moves.redraw import redraw
from service.search.moves.relabelling import cautious, counted, expected_shares, relabelled
from service.search.predictions import panel
from service.search.predictions.calibration import Shares, calibrated, entropy, even_shares, label_shares
from service.search.predictions.confidence import best_sharpness, sharpness_for
from service.search.predictions.panel import Panel
from service.search.predictions.scores import Scores, likeliest
from service.search.prompting.views import View, look
from service.search.rules.consistency import Labels
from service.search.state.facts import SearchFacts
from service.search.state.problem import Problem
from service.search.state.steps import Candidate, Phase, State, Step, StopReason, better
from service.search.strategies.extension import extended, extended_by_panel
from service.search.strategies.impression import first_impression

SWEEP_SIZES = (8, 16, 32, 64)  # demonstrations of a sweep's views: nobody knows beforehand how many help
QUICK_SIZES = (8, 32)  # of the start from random labels, which has farther to go
FINAL_SIZES = (8, 8, 8, 16, 16, 32)  # of the views whose pooled prediction is handed out
KNOWN_SIZES = (0,) * 4  # the same, of views that show known rows alone, each of them several times
SETTLED = 0.97  # share of labels that a sweep has left alone, from which the next would change little
FOUND_AGAIN = 0.9  # share of equal labels from which two starts have found the same labelling
CONFIRMED_SHARE = 0.1  # of the entropy: an impression whose labels gain more is borne out by demonstrations
DECISIVE_SHARE = 0.3  # of the entropy: by so much a labelling that contradicts the impression must gain more
SWEEPS = 3  # of each start, at most
BORNE_OUT_NATS = 2.0  # by which known labels must be likelier than by chance, to bear the labels out
KNOWN_SHARPNESS = 2.0  # of an impression, before known rows have told: about that of several tasks with gold labels
KNOWN_SPREAD = math.log(2)  # of the sharpness before known rows have told: a factor of two is nothing strange
LEAST_HEEDED = 0.05  # part of a mean, below which views would change nothing
_ROUNDING_NATS = 1e-6


@dataclass(frozen=True)
class GainSearch:
    """Starts from the first impression and from random labels; of the labellings met the one of highest gain.

    `State.starts` holds the labelling of the impression, then the best labelling of each start.
    """

    def step(self, problem: Problem, state: State) -> Step:
        """The impression, one sweep, the audit, or the final look."""
        match state.phase:
            case Phase.START if problem.panel is not None:
                return extended_by_panel(problem, problem.panel, state)
            case Phase.START if problem.prefix:
                return extended(problem, state)
            case Phase.START:
                return self._impression(problem, state)
            case Phase.SWEEP:
                return self._sweep(problem, state)
            case Phase.AUDIT:
                return self._audit(problem, state)
            case Phase.SCORE:
                return self._score(problem, state)
        raise AssertionError(state.phase)

    def _impression(self, problem: Problem, state: State) -> Step:
        """Label every row by the first impression; the shares are taken for even, since nothing is known of them."""
        first = yield from first_impression(problem)
        calibrated_scores = calibrated(first.scores, expected_shares(problem, even_shares(problem.classes)))
        drawn = relabelled(problem, {}, calibrated_scores)
        state = replace(state, impression=first.scores, source=first.source)
        return state.enter(Phase.SWEEP, labels=drawn.labels, scores=calibrated_scores)

    def _sweep(self, problem: Problem, state: State) -> Step:
        """Measure the labelling and draw the next, until little changes."""
        labels = problem.in_order(state.labels)
        rng = problem.random("views", len(state.starts), state.round)
        views = yield from look(problem, labels, QUICK_SIZES if len(state.starts) > 1 else SWEEP_SIZES, rng)
        found = _measured(problem, labels, views, state.impression if len(state.starts) <= 1 else None)
        drawn = relabelled(problem, labels, found.scores)
        kept = share_of_equal_labels(labels, drawn.labels)
        state = counted(problem, state, labels, drawn).with_facts(
            sweep_utilities=[*state.facts.get("sweep_utilities", []), found.utility]
        )
        best = better(state.best, found) if not problem.known else _better_known(problem, state.best, found)
        state = replace(state, best=best, starts=state.starts or (found,), round=state.round + 1)
        if state.round < SWEEPS and kept < SETTLED and not _is_found_again(state, labels):
            return replace(state, labels=drawn.labels, scores=found.scores)
        return self._started(problem, state)

    def _started(self, problem: Problem, state: State) -> State:
        """A start has come to its end: the next begins, or of those there were one is audited."""
        if state.best is None:
            raise AssertionError("a start has at least one sweep")
        state = replace(state, starts=(*state.starts, state.best), best=None, round=0)
        if len(state.starts) == 2 and not problem.known:
            return replace(state, labels=random_labels(problem), scores={})
        chosen = state.starts[-1] if state.turned else _chosen(problem, state)
        return state.enter(Phase.AUDIT, labels=chosen.labels, scores=chosen.scores, best=chosen)

    def _audit(self, problem: Problem, state: State) -> Step:
        """Hold the labelling against its permutations and against chance; turned once at most, it is swept again."""
        found = yield from audit_gain(problem, state.labels, state.scores, state.impression)
        turned = found.better_reading()
        if turned is not None and not state.turned:
            return state.enter(Phase.SWEEP, labels=turned, best=None, turned=True)
        state = state.with_facts(**found.facts()).with_facts(**_start_facts(problem, state))
        return state.enter(Phase.SCORE)

    def _score(self, problem: Problem, state: State) -> Step:
        """Look at the rows once more, behind many draws of the labels found, and hand out what all of these say."""
        first, labels = state.starts[0], state.labels
        if problem.known:
            return (yield from self._score_known(problem, state))
        if labels == first.labels and not _gains(problem, first):
            return _finished(problem, state, labels, [])
        views = yield from look(problem, labels, FINAL_SIZES, problem.random("final views"))
        return _finished(problem, state, labels, views)

    def _score_known(self, problem: Problem, state: State) -> Step:
        """Look once more behind the known rows, and behind labels found where known rows bear these out.

        Where it was measured before how far the views are to be heeded, they leave no known row out.
        """
        rng, labels, is_swept = problem.random("final views"), state.labels, _is_swept(problem, state)
        if is_swept and _lead_nats(problem, state) < EARNED_NATS:
            views = yield from look(problem, labels, FINAL_SIZES, rng)
            return _finished(problem, state, labels, views)
        part = 1 - 1 / (1 + len(FINAL_SIZES)) if is_swept else _part_of_known(state)
        sizes = FINAL_SIZES if is_swept else KNOWN_SIZES
        views = [] if part < LEAST_HEEDED else (yield from look(problem, labels, sizes, rng, whole=True))
        return _finished(problem, state, labels, views, part)


def _measured(problem: Problem, labels: Labels, views: list[View], impression: Scores | None) -> Candidate:
    """The labelling with its gain by the views, and what the views and the impression, where it is given, say together.

    Only the start that began with it heeds the impression, so that others come to its labels by themselves or not.
    """
    gain_nats = mean_gain(labels, [view.scores for view in views], problem.classes)
    fitted = _fitted(problem, labels, views, impression)
    return Candidate(dict(labels), fitted.scores, gain_utility(problem, labels, gain_nats))


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A panel, what each member says, and what they say together."""

    panel: Panel
    view_scores: list[Scores]
    scores: Scores

    def whole(self, state: State) -> Panel:
        """The panel with all that the impression came from, which later shards have to be asked."""
        places = [place for place, scores in enumerate(self.view_scores) if scores is state.impression]
        return self.panel.with_source(places[0], state.source) if places and state.source else self.panel


def _fitted(
    problem: Problem, labels: Labels, views: list[View], impression: Scores | None, part: float | None = None
) -> _Fitted:
    """The panel of the views and the impression, the weightiest first.

    Calibrated to the shares that are expected of the next labels. Known rows say better than gains how far to heed
    the impression; `part` is that of the views where it was measured before.
    """
    weights = [view_weight(labels, view.scores, problem.classes) for view in views]
    shares = _shares(problem, labels)
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
    return _Fitted(fitted, view_scores, {**fitted.scores(view_scores), **known})


def _shares(problem: Problem, labels: Labels) -> Shares:
    """The shares that are expected of the next labels."""
    shares = label_shares(labels, labels, problem.classes)
    return expected_shares(problem, cautious(shares, len(labels)) if problem.known else shares)


def _finished(problem: Problem, state: State, labels: Labels, views: list[View], part: float | None = None) -> State:
    """The labels that all views give together; those of the impression stay where there are no views."""
    if views:
        fitted = _fitted(problem, labels, views, state.impression, part)
        sharpness, certainty = _sharpness(problem, state, labels, views), _certainty(problem, state, fitted, views)
    else:
        view_scores: list[Scores] = [state.impression]
        own = panel.fit([()], view_scores, [1.0], expected_shares(problem, even_shares(problem.classes)))
        fitted, sharpness, certainty = _Fitted(own, view_scores, own.scores(view_scores)), 1.0, 1.0
    if problem.known:
        measured = state.starts[1].scores if part and _is_swept(problem, state) else fitted.scores
        fitted = replace(fitted, scores={**fitted.scores, **{row: measured[row] for row in problem.known}})
        sharpness = best_sharpness(fitted.scores, problem.known, spread=KNOWN_SPREAD)
        before = certainty if views else KNOWN_SHARPNESS
        certainty = best_sharpness(fitted.scores, problem.known, before=before, spread=KNOWN_SPREAD)
    fitted = replace(fitted, panel=replace(fitted.panel, sharpness=sharpness, certainty=certainty))
    drawn = relabelled(problem, labels, fitted.scores)
    scores = fitted.panel.confidences(fitted.view_scores)
    gain_nats = mean_gain(drawn.labels, [view.scores for view in views], problem.classes)
    utility = gain_utility(problem, drawn.labels, gain_nats) if views else state.starts[0].utility
    found = Candidate(drawn.labels, scores, utility)
    state = replace(state, panel=fitted.whole(state), unproven=state.unproven + drawn.unproven_groups)
    reason = StopReason.CONVERGED if _is_borne_out(problem, state, fitted.scores, views) else StopReason.NOT_BORNE_OUT
    raw = fitted.panel.uncalibrated(fitted.view_scores)
    state = state.enter(Phase.DONE, labels=found.labels, scores=scores, raw=raw, best=found, stop=reason)
    labellings = measured_labellings(problem, state.starts, found, _view_sizes(problem, state, views))
    state = state.with_facts(utility=found.utility, labellings=labellings)
    if views or problem.known:
        claimed = [math.exp(scores[row][label]) for row, label in found.labels.items() if row in scores]
        state = state.with_facts(expected_accuracy=math.fsum(claimed) / max(1, len(claimed)))
    return state.with_facts(**_known_facts(problem, fitted.scores))


def _is_borne_out(problem: Problem, state: State, scores: Scores, views: list[View]) -> bool:
    """Whether anything speaks for the labels but the first impression itself."""
    if not problem.known:
        return bool(views)
    return fit_nats(problem, scores) >= BORNE_OUT_NATS or (bool(views) and _gains(problem, state.starts[0]))


def _part_of_known(state: State) -> float:
    """How far the impression heeds what the language model says behind known rows, from 0 to 1."""
    members = [] if state.source is None else state.source.members
    return math.fsum(member.weight for member in members if member.demonstrations)


def _view_sizes(problem: Problem, state: State, views: list[View]) -> list[Sequence[int]]:
    """By how many demonstrations beside known ones each of the starts' labellings and the last one was measured."""
    final = KNOWN_SIZES if problem.known and not _is_swept(problem, state) else FINAL_SIZES
    quick = [QUICK_SIZES] * (len(state.starts) - 2)
    return [SWEEP_SIZES, SWEEP_SIZES, *quick, final if views else SWEEP_SIZES]


def _sharpness(problem: Problem, state: State, labels: Labels, views: list[View]) -> float:
    """How sure the panel may be: as sure as it predicts the impression's labels without having read them.

    Where demonstrations do not bear the impression out it is no witness, and half of the views is one for the other.
    """
    view_scores, witnesses = [view.scores for view in views], [state.impression]
    if not _gains(problem, state.starts[0]):
        view_scores, witnesses = view_scores[::2], view_scores[1::2]
    shares = _shares(problem, labels)
    witness = {row: likeliest(values) for row, values in _together(witnesses, shares).items()}
    return best_sharpness(_together(view_scores, shares), witness)


def _certainty(problem: Problem, state: State, fitted: _Fitted, views: list[View]) -> float:
    """How sure the labels are: on average as sure as they are expected to be right.

    The impression is no evidence where demonstrations do not bear it out, nor of a reading that was chosen against it.
    """
    looks = [view.scores for view in views]
    if _gains(problem, state.starts[0]) and not state.turned:
        looks.append(state.impression)
    return sharpness_for(
        fitted.panel.scores(fitted.view_scores), expected_accuracy(looks, _shares(problem, state.labels))
    )


def _together(views: list[Scores], shares: Shares) -> Scores:
    """What views of equal weight say."""
    return panel.pooled(views, [1.0] * len(views), shares)


def random_labels(problem: Problem) -> dict[Row, Label]:
    """Every row labelled at random among the labellings that break no rule."""
    blind: Scores = dict.fromkeys(problem.rows, (0.0,) * problem.classes)
    return redraw(problem, {}, blind, temperature=1.0, rng=problem.random("random labels"))


def _chosen(problem: Problem, state: State) -> Candidate:
    """Which of the starts' labellings is audited and handed out.

    Against an impression that is not borne out another must gain something: of labellings that demonstrations
    tell nothing of, one gains far more than another by chance.
    """
    first, own, *others = state.starts
    if problem.known:
        return own if _is_swept(problem, state) else replace(first, scores=state.impression)
    decisive = problem.parameters.alpha * DECISIVE_SHARE * entropy(even_shares(problem.classes))
    best = max([own, *others], key=lambda candidate: candidate.utility)
    if _gains(problem, first):
        return best if best.utility > own.utility + decisive else own
    nothing = gain_utility(problem, best.labels, 0.0)
    return best if best.utility > max(first.utility, nothing) + decisive else first


def _better_known(problem: Problem, first: Candidate | None, second: Candidate) -> Candidate:
    """The one that predicts the known labels better; of about equals the one that gains more."""
    if first is None:
        return second
    lead = fit_nats(problem, second.scores) - fit_nats(problem, first.scores)
    if abs(lead) > EARNED_NATS:
        return second if lead > 0 else first
    return better(first, second)


def _is_swept(problem: Problem, state: State) -> bool:
    """Whether labels found are shown behind the known rows at the end.

    They may not predict known labels worse than the impression does, which shows known rows alone. Where
    demonstrations do not bear this out, they have to predict them better.
    """
    least = -_ROUNDING_NATS if _gains(problem, state.starts[0]) else EARNED_NATS
    return _lead_nats(problem, state) >= least


def _lead_nats(problem: Problem, state: State) -> float:
    """By how much known labels are likelier behind labels found than behind known rows alone."""
    return fit_nats(problem, state.starts[1].scores) - fit_nats(problem, state.impression)


def _is_confirmed(problem: Problem, state: State) -> bool:
    """Whether demonstrations or known labels bear the impression out."""
    return _gains(problem, state.starts[0]) or fit_nats(problem, state.impression) >= BORNE_OUT_NATS


def _gains(problem: Problem, first: Candidate) -> bool:
    """Whether the impression's labels can be told from one another's."""
    shares = label_shares(first.labels, first.labels, problem.classes)
    return first.utility > problem.parameters.alpha * CONFIRMED_SHARE * entropy(shares)


def _known_facts(problem: Problem, scores: Scores) -> SearchFacts:
    """How many known rows the views label rightly; no view was asked for a row that it shows."""
    if not problem.known:
        return {}
    asked = [row for row in problem.known if row in scores]
    right = sum(likeliest(scores[row]) == problem.known[row] for row in asked)
    commonest = max(Counter(problem.known[row] for row in asked).values(), default=0)
    return {"known_rows": len(asked), "known_right": right, "known_commonest": commonest}


def _is_found_again(state: State, labels: Labels) -> bool:
    """Whether a later start has come to the labelling of the one before."""
    return len(state.starts) > 1 and share_of_equal_labels(labels, state.starts[1].labels) >= FOUND_AGAIN


def _start_facts(problem: Problem, state: State) -> SearchFacts:
    """What the report says of the starts."""
    first, *found = state.starts
    others = [other.labels for other in found if other != state.best]
    return {
        "impression_utility": first.utility,
        "impression_confirmed": _is_confirmed(problem, state),
        "restart_utilities": [candidate.utility for candidate in found],
        "restart_agreement": None if problem.known else agreement(others, state.labels),
    }
