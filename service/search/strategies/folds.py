"""Strategy `folds`, the default, under the paper's utility: grows a labelling and sweeps it by folds.

The search makes a few starts on a small set and grows the best by doubling, each time behind
demonstrations that the server has already read. Then it sweeps until nothing changes: it scores every
row given the rows outside its fold, and redraws related rows jointly. Leave-one-out gives the final
scores. At the end the search compares the labelling with its permutations. Behind an anchor it scores
every row once and doubtful rows again. Under the default objective, `gain_search.py` searches instead.

All prompts use one order of the rows (`Problem.order`). So the server's prefix cache holds all that
does not change from one sweep to the next. And a fold shows a row its context in the same order as
leave-one-out does, so the exact utility confirms the labelling on which the sweeps settle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.search.measures.agreement import agreement, share_of_equal_labels
from service.search.measures.audit import audit
from service.search.moves.redraw import redraw_groups
from service.search.moves.relabelling import counted
from service.search.prompting import evaluation
from service.search.state.objective import Objective
from service.search.state.problem import Problem
from service.search.state.steps import Candidate, Phase, State, Step, StopReason, as_candidate, better
from service.search.strategies import queries_left, starts
from service.search.strategies.approach import Approach
from service.search.strategies.extension import extended
from service.search.strategies.gain_search import GainSearch

EXACT_REDRAWS = 1  # redraws by leave-one-out scores; each costs another leave-one-out
AGREEMENT = 0.9  # two starts with at least this share of equal labels have found the same labelling


@dataclass(frozen=True)
class Folds:
    """The search: growth and sweeps by folds over groups of related rows."""

    def step(self, problem: Problem, state: State) -> Step:
        """Run one start, doubling, sweep, exact scoring or audit."""
        match state.phase:
            case Phase.START if problem.prefix:
                return extended(problem, state)
            case Phase.START:
                return self._start(problem, state)
            case Phase.GROW:
                return self._grow(problem, state)
            case Phase.SWEEP:
                return self._sweep(problem, state)
            case Phase.SCORE:
                return self._score(problem, state)
            case Phase.AUDIT:
                return self._audit(problem, state)
        raise AssertionError(state.phase)

    def _start(self, problem: Problem, state: State) -> Step:
        """Make one independent start; once two agree or there are enough, enter growth with the best."""
        rng = problem.random("start", state.round)
        found = yield from starts.start(problem, rng, seeded=state.round % 2 == 1)
        state = replace(state, round=state.round + 1, starts=(*state.starts, found))
        best = max(state.starts, key=lambda candidate: candidate.utility)
        state = replace(state, labels=best.labels, scores=best.scores)
        may_end = state.round >= starts.min_starts(problem) and _is_found_twice(state.starts, best)
        if state.round < starts.max_starts(problem) and not may_end:
            return state
        best = yield from starts.choose_polarity(problem, best, problem.random("turn"))
        state = state.with_facts(
            restart_utilities=[candidate.utility for candidate in state.starts],
            restart_agreement=agreement([start.labels for start in state.starts if start is not best], best.labels),
        )
        return state.enter(Phase.GROW, labels=best.labels, scores=best.scores, starts=())

    def _grow(self, problem: Problem, state: State) -> Step:
        """Double the labelled set: label new rows given the current ones."""
        if len(state.labels) == len(problem.rows):
            return state.enter(Phase.SWEEP)
        new = starts.next_rows(problem, state.labels, min(len(state.labels), len(problem.rows) - len(state.labels)))
        scores = yield from evaluation.predict(problem, state.labels, new)
        drawn = redraw_groups(problem, state.labels, scores)
        state = counted(problem, state, state.labels, drawn)
        return replace(state, round=state.round + 1, labels=drawn.labels, scores={**state.scores, **scores})

    def _sweep(self, problem: Problem, state: State) -> Step:
        """Score by folds, remember the labelling if it is the best so far, and redraw; end once nothing changes."""
        labels = problem.in_order(state.labels)
        scores = yield from evaluation.by_folds(problem, labels, problem.parameters.folds)
        best = better(state.best, as_candidate(problem, labels, scores))
        drawn = redraw_groups(problem, labels, scores)
        state = replace(counted(problem, state, labels, drawn), best=best, round=state.round + 1)
        if drawn.labels == labels:
            return _swept(problem, state, best, StopReason.CONVERGED)
        if state.round == problem.parameters.sweeps:
            return _swept(problem, state, best, StopReason.SWEEPS_DONE)
        return replace(state, labels=drawn.labels, scores=scores)

    def _audit(self, problem: Problem, state: State) -> Step:
        """Compare the labelling with its permutations and with chance; sweep again from a better permutation, once."""
        found = yield from audit(problem, state.labels, state.scores, problem.random("audit"))
        permuted = found.better_reading(problem)
        if permuted is not None and not state.turned:
            return state.enter(Phase.SWEEP, labels=permuted, best=None, turned=True)
        return state.enter(Phase.DONE).with_facts(**found.facts())

    def _score(self, problem: Problem, state: State) -> Step:
        """Score every row given all others; redraw by these scores as long as that raises utility."""
        [exact] = yield from evaluation.leave_one_out(problem, state.labels)
        best = better(state.best, exact)
        drawn = redraw_groups(problem, exact.labels, exact.scores)
        if best is not exact or drawn.labels == exact.labels or state.round == EXACT_REDRAWS:
            return _with_best(state, Phase.AUDIT, best)
        state = counted(problem, state, exact.labels, drawn)
        return replace(state, round=state.round + 1, labels=drawn.labels, best=best)


def _swept(problem: Problem, state: State, best: Candidate, reason: StopReason) -> State:
    state = _with_best(state, Phase.SCORE if problem.parameters.exact_scores else Phase.AUDIT, best)
    return replace(state, best=None, stop=reason)


def _with_best(state: State, after: Phase, best: Candidate) -> State:
    return state.enter(after, labels=best.labels, scores=best.scores, best=best).with_facts(utility=best.utility)


def _is_found_twice(candidates: Sequence[Candidate], best: Candidate) -> bool:
    """Whether another start has found the best labelling, too."""
    others = [candidate for candidate in candidates if candidate is not best]
    return any(share_of_equal_labels(best.labels, other.labels) >= AGREEMENT for other in others)


APPROACH = Approach(
    searches={Objective.GAIN: GainSearch(), Objective.UTILITY: Folds()},
    forecasts={Objective.GAIN: queries_left.GAIN_SEARCH, Objective.UTILITY: queries_left.FOLDS},
)
