"""Strategy `folds` under its default objective `gain`: relabels all rows sweep by sweep, by pooled, calibrated views.

A sweep scores all rows behind several short draws of the current labels (prompting/views.py). That gives the
labelling's gain, out of sample, and the pooled prediction from which it draws the next labelling. One
start begins with the language model's first impression: its answers without demonstrations, calibrated.
Another begins with random labels, for language models whose first impression says nothing.

The first impression is the only evidence of what the label words mean. So its start wins unless another
gains far more. If demonstrations do not confirm it and no start gains far more, the search keeps the
labels of the impression and says so.

Known rows are evidence of another kind: views leave them out in turn, so they measure how often predictions are
right. If there are any, the impression includes the language model's answers behind them, and the search makes no
start from random labels. It shows its own labels behind the known rows only if they predict these no worse than
the impression.
"""

from dataclasses import dataclass, replace

from service.search.gain.choice import better_known, chosen, is_confirmed
from service.search.gain.final_look import last_look
from service.search.gain.impression import first_impression
from service.search.gain.pooling import likely_shares, measured
from service.search.measures.agreement import agreement, share_of_equal_labels
from service.search.measures.gain_audit import audit_gain
from service.search.moves.redraw import random_labels
from service.search.moves.relabelling import counted, relabelled
from service.search.predictions.calibration import calibrated
from service.search.prompting.views import QUICK_SIZES, SWEEP_SIZES, look
from service.search.rules.consistency import Labels
from service.search.state.facts import SearchFacts
from service.search.state.problem import Problem
from service.search.state.steps import Phase, State, Step, better
from service.search.strategies.extension import extended, extended_by_panel

SETTLED = 0.97  # a sweep that keeps at least this share of the labels is the last
FOUND_AGAIN = 0.9  # two starts with at least this share of equal labels have found the same labelling
SWEEPS = 3  # of each start, at most


@dataclass(frozen=True)
class GainSearch:
    """Starts from the first impression and from random labels, and keeps the labelling of highest gain.

    `State.starts` holds the labelling of the impression, then the best labelling of each start.
    """

    def step(self, problem: Problem, state: State) -> Step:
        """Score the impression, or do one sweep, the audit or the final look."""
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
                return last_look(problem, state)
        raise AssertionError(state.phase)

    def _impression(self, problem: Problem, state: State) -> Step:
        """Label every row by the first impression; assume even shares unless a gap shows others."""
        first = yield from first_impression(problem)
        calibrated_scores = calibrated(first.scores, likely_shares(problem, {}, [first.scores]))
        drawn = relabelled(problem, {}, calibrated_scores)
        state = replace(state, impression=first.scores, source=first.source)
        return state.enter(Phase.SWEEP, labels=drawn.labels, scores=calibrated_scores)

    def _sweep(self, problem: Problem, state: State) -> Step:
        """Measure the labelling and draw the next; end the start once few labels change."""
        labels = problem.in_order(state.labels)
        rng = problem.random("views", len(state.starts), state.round)
        views = yield from look(problem, labels, QUICK_SIZES if len(state.starts) > 1 else SWEEP_SIZES, rng)
        candidate = measured(problem, labels, views, state.impression if len(state.starts) <= 1 else None)
        drawn = relabelled(problem, labels, candidate.scores)
        kept = share_of_equal_labels(labels, drawn.labels)
        state = counted(problem, state, labels, drawn).with_facts(
            sweep_utilities=[*state.facts.get("sweep_utilities", []), candidate.utility]
        )
        best = better(state.best, candidate) if not problem.known else better_known(problem, state.best, candidate)
        state = replace(state, best=best, starts=state.starts or (candidate,), round=state.round + 1)
        if state.round < SWEEPS and kept < SETTLED and not _repeats_first_start(state, labels):
            return replace(state, labels=drawn.labels, scores=candidate.scores)
        return self._after_start(problem, state)

    def _after_start(self, problem: Problem, state: State) -> State:
        """After a start ends: begin the next, or audit the best."""
        if state.best is None:
            raise AssertionError("a start has at least one sweep")
        state = replace(state, starts=(*state.starts, state.best), best=None, round=0)
        if len(state.starts) == 2 and not problem.known:
            return replace(state, labels=random_labels(problem), scores={})
        best = state.starts[-1] if state.turned else chosen(problem, state)
        return state.enter(Phase.AUDIT, labels=best.labels, scores=best.scores, best=best)

    def _audit(self, problem: Problem, state: State) -> Step:
        """Compare the labelling with its permutations and with chance; sweep again from a better permutation, once."""
        evidence = yield from audit_gain(problem, state.labels, state.scores, state.impression)
        turned = evidence.better_reading()
        if turned is not None and not state.turned:
            return state.enter(Phase.SWEEP, labels=turned, best=None, turned=True)
        state = state.with_facts(**evidence.facts()).with_facts(**_start_facts(problem, state))
        return state.enter(Phase.SCORE)


def _repeats_first_start(state: State, labels: Labels) -> bool:
    """Whether a later start has reached the labelling of the first."""
    return len(state.starts) > 1 and share_of_equal_labels(labels, state.starts[1].labels) >= FOUND_AGAIN


def _start_facts(problem: Problem, state: State) -> SearchFacts:
    """Facts about the starts for the report."""
    first, *later = state.starts
    others = [start.labels for start in later if start != state.best]
    return {
        "impression_utility": first.utility,
        "impression_confirmed": is_confirmed(problem, state),
        "restart_utilities": [start.utility for start in later],
        "restart_agreement": None if problem.known else agreement(others, state.labels),
    }
