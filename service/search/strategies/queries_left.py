"""Predicts how many queries a search will still ask, from which the time left of its job follows.

A search ends early where labels settle, so these are the numbers of a search of middling length. What is left is
predicted anew after each step, so an early end or a further sweep shows at once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.search.gain.final_look import last_sizes
from service.search.measures.audit import BASELINE_ROWS, SAMPLE_ROWS
from service.search.measures.gain_audit import VIEW_SIZES
from service.search.measures.polarity import ALL_PERMUTED, SEQUENCE_ROWS, SEQUENCES, permutation_count
from service.search.moves.proposal import free_rows
from service.search.moves.schedule import draws
from service.search.prompting.views import FINAL_SIZES, KNOWN_SIZES, QUICK_SIZES, SWEEP_SIZES
from service.search.state.problem import Parameters, Problem
from service.search.state.steps import Phase, State
from service.search.strategies import starts

# Between the one query of a sure shard and the six of a doubtful one, within a factor of two of both.
_ASKED_AGAIN = 0.4  # share of a later shard's rows that are scored behind the other demonstrations, too
_FIRST_VIEWS, _OTHER_VIEWS = 2, 4  # of a panel, before it is known
_OTHER_ORDERS = 2  # of the anchor's demonstrations, before they are known
_USUAL_SWEEPS = 2  # of the at most three of a start
_USUAL_SHARE = 0.6  # of the most sweeps or rounds of the other strategies
_POLISHING_SWEEPS = 2  # of a start of strategy `folds` under the paper's utility
_FIRST_REDRAWS, _CHANGED_SHARE = 10.0, 0.2  # before any draw: as if ten draws had changed a label in two cases


@dataclass
class DrawCosts:
    """What the draws of simulated annealing have cost so far, in leave-one-outs over the rows labelled so far.

    A draw costs one if it labels a row or changes a label, further ones if it repairs conflicts, and none otherwise.
    How often labels still change depends on the language model, so this is measured.
    """

    _first_passes: float = 1.0
    _first_labels: float = 1.0
    _redraw_passes: float = _FIRST_REDRAWS * _CHANGED_SHARE
    _redraws: float = _FIRST_REDRAWS

    def note(self, before: State, after: State, queries: int) -> None:
        """Count the queries of a step between these states, if it was a draw."""
        if before.phase is not Phase.DRAW or after.iterations == before.iterations:
            return
        passes = max(0, queries - 1) / max(1, len(after.labels))
        if len(after.labels) > len(before.labels):
            self._first_passes, self._first_labels = self._first_passes + passes, self._first_labels + 1
        else:
            self._redraw_passes, self._redraws = self._redraw_passes + passes, self._redraws + 1

    @property
    def of_first_label(self) -> float:
        """Leave-one-outs of a draw that labels a row for the first time."""
        return self._first_passes / self._first_labels

    @property
    def of_redraw(self) -> float:
        """Leave-one-outs of a draw of a labelled row, or of one that stays unlabelled."""
        return self._redraw_passes / self._redraws


@dataclass(frozen=True, slots=True)
class Forecast:
    """The rules of a strategy or baseline: the queries left of a search, and those of a later shard before it begins.

    The second rule reads the number of the shard's rows.
    """

    left: Callable[[Problem, State, DrawCosts], float]
    later: Callable[[Parameters, float], float]


def asked_once(problem: Problem, state: State, costs: DrawCosts) -> float:
    """One query for each row, as the simplest baselines ask them."""
    del costs
    return 0.0 if state.phase is Phase.DONE else len(problem.rows)


def of_gain_search(problem: Problem, state: State, costs: DrawCosts) -> float:
    """The first impression, the sweeps of two starts, the audit and the final look; less behind an anchor."""
    rows = len(problem.rows)
    if state.phase is Phase.DONE:
        return 0.0
    if problem.panel is not None:
        others = len(problem.panel_prefixes) - problem.panel.first
        return rows * (problem.panel.first + _ASKED_AGAIN * others)
    if problem.prefix:
        return behind_anchor(problem, state, costs)
    ends = state.phase in {Phase.AUDIT, Phase.SCORE}
    last = _behind(rows, last_sizes(problem, state) if ends else FINAL_SIZES)
    if state.phase is Phase.SCORE:
        return last
    rivals = permutation_count(problem.classes) if problem.classes <= ALL_PERMUTED else 1
    labellings = 2 + (0 if problem.known else rivals)
    audit = labellings * _behind(min(SAMPLE_ROWS, rows), VIEW_SIZES) + min(BASELINE_ROWS, rows)
    return _sweeps_of_gain(problem, state) + audit + last


def _behind(rows: int, sizes: Sequence[int]) -> int:
    """The queries of views with these numbers of demonstrations, which score all other rows."""
    return sum(rows - min(size, rows // 2) for size in sizes)


def _sweeps_of_gain(problem: Problem, state: State) -> float:
    """The queries of the first impression and of all sweeps."""
    rows = len(problem.rows)
    first, second = _behind(rows, SWEEP_SIZES), 0 if problem.known else _behind(rows, QUICK_SIZES)
    if state.phase is Phase.START:
        impression = rows * (1 + (len(KNOWN_SIZES) if problem.known else 0))
        return impression + _USUAL_SWEEPS * (first + second)
    if state.phase is not Phase.SWEEP:
        return 0.0
    left = max(1, _USUAL_SWEEPS - state.round)
    if len(state.starts) > 1:
        return left * _behind(rows, QUICK_SIZES)
    return left * first + _USUAL_SWEEPS * second


def behind_anchor(problem: Problem, state: State, costs: DrawCosts) -> float:
    """Every row behind the anchor's demonstrations, and doubtful rows behind other orders of them."""
    del costs
    if state.phase is Phase.DONE:
        return 0.0
    return len(problem.rows) * (1 + _ASKED_AGAIN * len(problem.other_prefixes))


def of_folds(problem: Problem, state: State, costs: DrawCosts) -> float:
    """The starts, the growth, the sweeps by folds, the exact scores and the audit."""
    if problem.prefix:
        return behind_anchor(problem, state, costs)
    rows, parameters = len(problem.rows), problem.parameters
    labelled = len(state.labels) if state.phase is Phase.GROW else min(rows, parameters.initial_rows)
    sweeps = _usual(parameters.sweeps) - (state.round if state.phase is Phase.SWEEP else 0)
    parts = {
        Phase.START: _of_starts(problem, state),
        Phase.GROW: rows - labelled,
        Phase.SWEEP: rows * max(1, sweeps),
        Phase.SCORE: rows if parameters.exact_scores else 0,
        Phase.AUDIT: _of_audit(problem),
    }
    return _from_phase(parts, state.phase)


def _of_starts(problem: Problem, state: State) -> float:
    few = min(len(problem.rows), problem.parameters.initial_rows)
    left = max(1, starts.min_starts(problem) - state.round)
    return left * few * (1 + _POLISHING_SWEEPS) + _of_sequences(problem)


def of_bootstrap(problem: Problem, state: State, costs: DrawCosts) -> float:
    """The rounds of all rows and the audit."""
    if problem.prefix:
        return behind_anchor(problem, state, costs)
    if state.phase is Phase.DONE:
        return 0.0
    left = 0 if state.phase is Phase.AUDIT else max(1, _usual(problem.parameters.rounds) - state.round)
    return left * len(problem.rows) + _of_audit(problem)


def of_annealing(problem: Problem, state: State, costs: DrawCosts) -> float:
    """The draws that are left, the rows that no draw meets, the label permutations and the audit."""
    rows = len(problem.rows)
    orders = 0 if problem.prefix else permutation_count(problem.classes)
    parts = {
        Phase.START: problem.parameters.seed_labels,
        Phase.DRAW: _of_draws(problem, state, costs),
        Phase.COMPLETE: rows,
        Phase.POLARITY: orders * rows,
        Phase.AUDIT: 0 if problem.prefix else _of_audit(problem),
    }
    return _from_phase(parts, state.phase)


def _of_draws(problem: Problem, state: State, costs: DrawCosts) -> float:
    """Draws label rows for the first time, fewer and fewer of them, and draw labelled rows again."""
    free = len(free_rows(problem))
    labelled = len(state.labels)
    left = max(0, draws(problem.parameters, free) - (state.round if state.phase is Phase.DRAW else 0))
    new = (len(problem.rows) - labelled) * (1 - math.exp(-left / max(1, free)))
    passes = new * costs.of_first_label * (labelled + new / 2) + max(0.0, left - new) * costs.of_redraw * (
        labelled + new
    )
    return left + passes


def _of_audit(problem: Problem) -> float:
    """The queries of an audit under the paper's utility."""
    rows = len(problem.rows)
    labellings = 2 + permutation_count(problem.classes)
    return labellings * min(SAMPLE_ROWS, rows) + _of_sequences(problem) + 2 * min(BASELINE_ROWS, rows)


def _of_sequences(problem: Problem) -> float:
    """The queries by which the language model's prior compares a labelling with its permutations."""
    return (1 + permutation_count(problem.classes)) * SEQUENCES * min(SEQUENCE_ROWS, len(problem.rows))


def _from_phase(parts: dict[Phase, float], phase: Phase) -> float:
    """The sum of the parts from this phase on; 0 after the last."""
    order = list(parts)
    return math.fsum(parts[each] for each in order[order.index(phase) :]) if phase in parts else 0.0


def _usual(most: int) -> int:
    return max(1, math.ceil(_USUAL_SHARE * most))


def _later_draws(parameters: Parameters, rows: float) -> float:
    """A later shard makes draws of its own."""
    left = draws(parameters, round(rows))
    return left + rows * rows / 2 + max(0.0, left - rows) * _CHANGED_SHARE * rows


ASKED_ONCE = Forecast(asked_once, lambda _, rows: rows)
GAIN_SEARCH = Forecast(of_gain_search, lambda _, rows: rows * (_FIRST_VIEWS + _ASKED_AGAIN * _OTHER_VIEWS))
FOLDS = Forecast(of_folds, lambda _, rows: rows * (1 + _ASKED_AGAIN * _OTHER_ORDERS))
BOOTSTRAP = Forecast(of_bootstrap, FOLDS.later)
ANNEALING = Forecast(of_annealing, _later_draws)
