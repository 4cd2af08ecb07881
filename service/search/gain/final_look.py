"""The last look at the rows: its views give the labels and their confidences, and the search ends.

Without views the first impression gives the labels, because demonstrations do not confirm them.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from service.search.gain.choice import CONFIRMED_NATS, demonstrations_confirm, lead_nats, shows_labels_found
from service.search.gain.pooling import Pool, likely_shares, pool, pooled_equally
from service.search.measures.expected_accuracy import expected_accuracy
from service.search.measures.gain import gain_utility, mean_gain
from service.search.measures.known_evidence import EARNED_NATS, fit_nats, known_facts
from service.search.measures.ranking import measured_labellings
from service.search.moves.relabelling import relabelled
from service.search.predictions import panel
from service.search.predictions.confidence import best_sharpness, sharpness_for
from service.search.predictions.scores import Scores, likeliest_each
from service.search.prompting.views import FINAL_SIZES, KNOWN_SIZES, QUICK_SIZES, SWEEP_SIZES, View, look
from service.search.state.facts import SearchFacts
from service.search.state.problem import Problem
from service.search.state.steps import Candidate, Phase, State, Step, StopReason

KNOWN_SHARPNESS = 2.0  # prior for an impression: about the sharpness measured on tasks with gold labels
KNOWN_SPREAD = math.log(2)  # prior standard deviation of its logarithm: a factor of two is common
LEAST_VIEWS_WEIGHT = 0.05  # a smaller weight of views in a mean would change nothing


def last_look(problem: Problem, state: State) -> Step:
    """Score the rows behind many draws of the labels found, and finish with the pooled prediction."""
    if problem.known:
        return (yield from _last_look_with_known(problem, state))
    sizes = last_sizes(problem, state)
    views = (yield from look(problem, state.labels, sizes, problem.random("final views"))) if sizes else []
    return _finished(problem, state, views)


def last_sizes(problem: Problem, state: State) -> Sequence[int]:
    """The numbers of demonstrations of the views that the last look from this state makes; none without views."""
    if not problem.known:
        first = state.starts[0]
        unconfirmed = state.labels == first.labels and not demonstrations_confirm(problem, first)
        return () if unconfirmed else FINAL_SIZES
    if shows_labels_found(problem, state):
        return FINAL_SIZES
    return KNOWN_SIZES if _weight_of_known(state) >= LEAST_VIEWS_WEIGHT else ()


def _last_look_with_known(problem: Problem, state: State) -> Step:
    """Score the rows behind the known rows, and behind labels found if known rows confirm these.

    If an earlier step measured the views' weight, these views show every known row.
    """
    rng, labels, shows_found = problem.random("final views"), state.labels, shows_labels_found(problem, state)
    sizes = last_sizes(problem, state)
    if shows_found and lead_nats(problem, state) < EARNED_NATS:
        views = yield from look(problem, labels, sizes, rng)
        return _finished(problem, state, views)
    part = 1 - 1 / (1 + len(FINAL_SIZES)) if shows_found else _weight_of_known(state)
    views = (yield from look(problem, labels, sizes, rng, whole=True)) if sizes else []
    return _finished(problem, state, views, part)


def _weight_of_known(state: State) -> float:
    """The weight in the impression of the answers behind known rows, from 0 to 1."""
    members = [] if state.source is None else state.source.members
    return math.fsum(member.weight for member in members if member.demonstrations)


def _finished(problem: Problem, state: State, views: list[View], part: float | None = None) -> State:
    """End the search with the pooled labels of all views; without views, with those of the impression."""
    pooled = _pooled(problem, state, views, part)
    drawn = relabelled(problem, state.labels, pooled.scores)
    gain_nats = mean_gain(drawn.labels, [view.scores for view in views], problem.classes)
    utility = gain_utility(problem, drawn.labels, gain_nats) if views else state.starts[0].utility
    best = Candidate(drawn.labels, pooled.panel.confidences(pooled.view_scores), utility)
    stop = StopReason.CONVERGED if _is_supported(problem, state, pooled.scores, views) else StopReason.NOT_BORNE_OUT
    state = replace(state, panel=pooled.whole(state), unproven=state.unproven + drawn.unproven_groups)
    raw = pooled.panel.uncalibrated(pooled.view_scores)
    state = state.enter(Phase.DONE, labels=best.labels, scores=best.scores, raw=raw, best=best, stop=stop)
    return state.with_facts(**_facts(problem, state, best, views)).with_facts(**known_facts(problem, pooled.scores))


def _pooled(problem: Problem, state: State, views: list[View], part: float | None) -> Pool:
    """The pool of all views with the factors that sharpen its panel; without views, the pool of the impression."""
    if views:
        pooled = pool(problem, state.labels, views, state.impression, part)
        sharpness, certainty = _sharpness(problem, state, views), _certainty(problem, state, pooled, views)
    else:
        pooled = _impression_alone(problem, state)
        sharpness, certainty = 1.0, 1.0
    if problem.known:
        measured = state.starts[1].scores if part and shows_labels_found(problem, state) else pooled.scores
        pooled = replace(pooled, scores={**pooled.scores, **{row: measured[row] for row in problem.known}})
        sharpness = best_sharpness(pooled.scores, problem.known, spread=KNOWN_SPREAD)
        before = certainty if views else KNOWN_SHARPNESS
        certainty = best_sharpness(pooled.scores, problem.known, before=before, spread=KNOWN_SPREAD)
    return replace(pooled, panel=replace(pooled.panel, sharpness=sharpness, certainty=certainty))


def _impression_alone(problem: Problem, state: State) -> Pool:
    own = panel.fit([()], [state.impression], [1.0], likely_shares(problem, {}, [state.impression]))
    return Pool(own, [state.impression], own.scores([state.impression]))


def _is_supported(problem: Problem, state: State, scores: Scores, views: list[View]) -> bool:
    """Whether any evidence besides the first impression supports the labels."""
    if not problem.known:
        return bool(views)
    return fit_nats(problem, scores) >= CONFIRMED_NATS or (
        bool(views) and demonstrations_confirm(problem, state.starts[0])
    )


def _sharpness(problem: Problem, state: State, views: list[View]) -> float:
    """The panel's sharpening factor, fitted to the impression's labels, which its views have not read.

    If demonstrations do not confirm the impression, half of the views is the witness for the other half instead.
    """
    view_scores, witnesses = [view.scores for view in views], [state.impression]
    if not demonstrations_confirm(problem, state.starts[0]):
        view_scores, witnesses = view_scores[::2], view_scores[1::2]
    shares = likely_shares(problem, state.labels, [view.scores for view in views])
    return best_sharpness(pooled_equally(view_scores, shares), likeliest_each(pooled_equally(witnesses, shares)))


def _certainty(problem: Problem, state: State, pooled: Pool, views: list[View]) -> float:
    """The factor with which the mean confidence equals the expected accuracy.

    The impression counts as a look only if demonstrations confirm it and the search has kept its reading.
    """
    looks = [view.scores for view in views]
    if demonstrations_confirm(problem, state.starts[0]) and not state.turned:
        looks.append(state.impression)
    expected = expected_accuracy(looks, likely_shares(problem, state.labels, looks))
    return sharpness_for(pooled.panel.scores(pooled.view_scores), expected)


def _facts(problem: Problem, state: State, best: Candidate, views: list[View]) -> SearchFacts:
    """What the report says about the labels returned: utility, rank among the labellings met, expected accuracy."""
    labellings = measured_labellings(problem, state.starts, best, _view_sizes(problem, state, views))
    facts: SearchFacts = {"utility": best.utility, "labellings": labellings}
    if views or problem.known:
        claimed = [math.exp(best.scores[row][label]) for row, label in best.labels.items() if row in best.scores]
        facts["expected_accuracy"] = math.fsum(claimed) / max(1, len(claimed))
    return facts


def _view_sizes(problem: Problem, state: State, views: list[View]) -> list[Sequence[int]]:
    """For each start's labelling and the result: the numbers of further demonstrations that measured it."""
    final = KNOWN_SIZES if problem.known and not shows_labels_found(problem, state) else FINAL_SIZES
    quick = [QUICK_SIZES] * (len(state.starts) - 2)
    return [SWEEP_SIZES, SWEEP_SIZES, *quick, final if views else SWEEP_SIZES]
