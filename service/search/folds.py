"""Strategy `folds`, the default: everything the language model is asked shares long prefixes (DESIGN §5.1).

Several starts on a small set; growth of the best by doubling; sweeps that score every row
given the rows outside its fold and redraw groups of related rows among their consistent
labellings; the label permutations; the labelling of highest utility wins. Behind an anchor
the rows are predicted at once and swept.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from service.identifiers import Label, Row
from service.search import evaluation
from service.search.consistency import Labels
from service.search.objective import Scores
from service.search.problem import Problem
from service.search.redraw import redraw
from service.search.steps import Answer, Candidate, Phase, Request, State, Step, StopReason, as_candidate, better

Labelling = Generator[Request, Answer, dict[Row, Label]]

GROWTH_TEMPERATURE = 0.3  # nats
FIRST_SWEEPS = ((1.0, 0.5), (1.0, 0.5))  # (temperature in nats, share of groups) while a start is small
CALM_SWEEPS = ((0.5, 0.5), (0.2, 0.7))
FULL_SWEEPS = ((0.5, 0.5), (0.1, 0.7), (0.0, 1.0), (0.0, 0.7), (0.0, 0.7))  # once all rows are labelled
ANCHORED_SWEEPS = ((0.0, 1.0), (0.0, 1.0))  # behind an anchor
CLOSE_NATS = 0.1  # per row; polarities closer than this by folds are looked at more closely
POLARITY_SEQUENCES, POLARITY_ROWS = 16, 8  # short: the more demonstrations, the less a model's own view counts
DECISIVE_NATS = 0.7  # odds of two to one between mirrored labellings; below that, utility decides


@dataclass(frozen=True)
class Folds:
    """Growth and fold sweeps over groups of related rows."""

    def step(self, problem: Problem, state: State) -> Step:
        """One start, doubling or sweep."""
        match state.phase:
            case Phase.START if problem.prefix:
                return self._extend(problem, state)
            case Phase.START:
                return self._start(problem, state)
            case Phase.GROW:
                return self._grow(problem, state)
            case Phase.SWEEP:
                return self._sweep(problem, state)
            case Phase.POLARITY:
                return self._polarity(problem, state)
            case Phase.SCORE:
                return self._score(problem, state)
        raise AssertionError(state.phase)

    def _extend(self, problem: Problem, state: State) -> Step:
        """Predict all rows behind the anchor's demonstrations."""
        rng = problem.random("extend")
        scores = yield from evaluation.predict(problem, {}, problem.rows, rng)
        labels = redraw(problem, {}, scores, temperature=0.0, share=1.0, rng=rng)
        return state.enter(Phase.SWEEP, labels=labels, scores=scores)

    def _start(self, problem: Problem, state: State) -> Step:
        """One independent start on a small set; after the last, the best of them grows."""
        rng = problem.random("start", state.round)
        labels = yield from _small_labelling(problem, rng)
        candidate = yield from _best_permutation(problem, labels, rng)
        best = better(state.best, candidate)
        utilities = [*_restarts(state.summary), candidate.utility]
        state = replace(state, round=state.round + 1, labels=best.labels, scores=best.scores, best=best)
        state = state.noting(restart_utilities=utilities)
        return state if state.round < problem.parameters.restarts else state.enter(Phase.GROW, best=None)

    def _grow(self, problem: Problem, state: State) -> Step:
        """Double the labelled set: predict new rows given the current ones, then one calm sweep."""
        if len(state.labels) == len(problem.rows):
            return state.enter(Phase.SWEEP)
        rng = problem.random("grow", state.round)
        labels = yield from _doubled(problem, state.labels, problem.groups, len(problem.rows), rng)
        scores = yield from evaluation.by_folds(problem, labels, problem.parameters.folds, rng)
        swept = redraw(problem, labels, scores, temperature=0.1, share=0.7, rng=rng)
        state = _counting(problem, state, labels, swept)
        return replace(state, round=state.round + 1, labels=swept, scores=scores)

    def _sweep(self, problem: Problem, state: State) -> Step:
        """Score by folds, keep the labelling if it is the best so far, redraw; until nothing changes."""
        sweeps = ANCHORED_SWEEPS if problem.prefix else FULL_SWEEPS
        rng = problem.random("sweep", state.round)
        scores = yield from evaluation.by_folds(problem, state.labels, problem.parameters.folds, rng)
        best = better(state.best, as_candidate(problem, state.labels, scores))
        if state.round == len(sweeps):
            return self._swept(problem, replace(state, best=best), StopReason.SWEEPS_DONE)
        temperature, share = sweeps[state.round]
        labels = redraw(problem, state.labels, scores, temperature=temperature, share=share, rng=rng)
        settled = temperature == 0 and share == 1 and labels == state.labels
        state = replace(_counting(problem, state, state.labels, labels), best=best, round=state.round + 1)
        if settled:
            return self._swept(problem, state, StopReason.CONVERGED)
        return replace(state, labels=labels, scores=scores)

    def _swept(self, problem: Problem, state: State, reason: StopReason) -> State:
        best = _known_best(state)
        after = Phase.DONE if problem.prefix else Phase.POLARITY
        state = state.enter(after, labels=best.labels, scores=best.scores, stop=reason)
        return state.noting(utility=best.utility)

    def _polarity(self, problem: Problem, state: State) -> Step:
        """Give every permutation of the labels its chance: redraw it once, keep the best by utility.

        Where a permuted labelling does not simply fall back to the best one and comes close
        to it, the two are told apart in the final pass.
        """
        rng = problem.random("polarity")
        best, mirrored, redrawn = _known_best(state), list[Candidate](), list[Candidate]()
        for permuted in evaluation.permutations(problem, best.labels):
            scores = yield from evaluation.by_folds(problem, permuted, problem.parameters.folds, rng)
            mirrored.append(as_candidate(problem, permuted, scores))
            redrawn.append((yield from _settled(problem, permuted, scores, rng)))
        rival = max(redrawn, key=lambda candidate: candidate.utility)
        winner, loser = (rival, best) if rival.utility > best.utility else (best, rival)
        close = winner.utility - loser.utility < CLOSE_NATS * problem.parameters.alpha
        state = state.enter(Phase.SCORE, labels=winner.labels, scores=winner.scores, best=winner)
        state = state.noting(permuted_utility=max(candidate.utility for candidate in mirrored))
        return replace(state, rival=loser if close and _are_mirrored(winner, loser) else None)

    def _score(self, problem: Problem, state: State) -> Step:
        """The final pass: exact leave-one-out scores give confidence and margin; a close polarity is settled."""
        best, rival = _known_best(state), state.rival
        if rival is None:
            [winner] = yield from evaluation.leave_one_out(problem, best.labels)
            return _scored(state, winner)
        one, other = yield from evaluation.joint_log_probability(
            problem, best.labels, rival.labels, sequences=POLARITY_SEQUENCES, length=POLARITY_ROWS
        )
        exact = yield from evaluation.leave_one_out(problem, best.labels, rival.labels)
        if abs(one - other) >= DECISIVE_NATS:
            winner, loser = exact if one > other else reversed(exact)
        else:
            loser, winner = sorted(exact, key=lambda candidate: candidate.utility)
        state = state.noting(permuted_utility=loser.utility, polarity_nats=abs(one - other))
        return _scored(state, winner)


def _scored(state: State, winner: Candidate) -> State:
    state = state.enter(Phase.DONE, labels=winner.labels, scores=winner.scores, best=winner, rival=None)
    return state.noting(utility=winner.utility)


def _small_labelling(problem: Problem, rng: Random) -> Labelling:
    """Random consistent labels for K rows, grown to the small set with sweeps between doublings."""
    groups = rng.sample(problem.groups, len(problem.groups))
    size = min(problem.parameters.initial_rows, len(problem.rows))
    seeds = _take(groups, {}, min(problem.parameters.seed_labels, size))
    blind: Scores = dict.fromkeys(seeds, (0.0,) * problem.classes)
    labels = redraw(problem, {}, blind, temperature=1.0, share=1.0, rng=rng)
    labels = yield from _with_sweeps(problem, labels, FIRST_SWEEPS, rng)
    while len(labels) < size:
        labels = yield from _doubled(problem, labels, groups, size, rng)
        labels = yield from _with_sweeps(problem, labels, CALM_SWEEPS, rng)
    return labels


def _with_sweeps(
    problem: Problem, labels: dict[Row, Label], sweeps: Sequence[tuple[float, float]], rng: Random
) -> Labelling:
    for temperature, share in sweeps:
        scores = yield from evaluation.by_folds(problem, labels, problem.parameters.folds, rng)
        labels = redraw(problem, labels, scores, temperature=temperature, share=share, rng=rng)
    return labels


def _best_permutation(problem: Problem, labels: Labels, rng: Random) -> Generator[Request, Answer, Candidate]:
    best = yield from _redrawn(problem, labels, rng)
    for permuted in evaluation.permutations(problem, labels):
        best = better(best, (yield from _redrawn(problem, permuted, rng)))
    return best


def _redrawn(problem: Problem, labels: Labels, rng: Random) -> Generator[Request, Answer, Candidate]:
    """A labelling after one greedy redraw, with its scores by folds."""
    scores = yield from evaluation.by_folds(problem, labels, problem.parameters.folds, rng)
    return (yield from _settled(problem, labels, scores, rng))


def _settled(problem: Problem, labels: Labels, scores: Scores, rng: Random) -> Generator[Request, Answer, Candidate]:
    labels = redraw(problem, labels, scores, temperature=0.0, share=1.0, rng=rng)
    scores = yield from evaluation.by_folds(problem, labels, problem.parameters.folds, rng)
    return as_candidate(problem, labels, scores)


def _are_mirrored(one: Candidate, other: Candidate) -> bool:
    """Whether the labellings differ in most rows, so that they are two readings of the labels and not one."""
    differing = sum(other.labels[row] != label for row, label in one.labels.items())
    return 2 * differing > len(one.labels)


def _doubled(problem: Problem, labels: Labels, groups: Sequence[Sequence[Row]], size: int, rng: Random) -> Labelling:
    """Twice as many rows, at most `size`, labelled given the current ones."""
    order = groups if groups is not problem.groups else rng.sample(problem.groups, len(problem.groups))
    new = _take(order, labels, min(len(labels), size - len(labels)))
    scores = yield from evaluation.predict(problem, labels, new, rng)
    return redraw(problem, labels, scores, temperature=GROWTH_TEMPERATURE, share=1.0, rng=rng)


def _take(groups: Sequence[Sequence[Row]], labels: Labels, count: int) -> list[Row]:
    """Unlabelled rows, whole groups at a time, until there are enough."""
    rows: list[Row] = []
    for group in groups:
        if len(rows) >= count:
            break
        rows.extend(row for row in group if row not in labels)
    return rows


def _counting(problem: Problem, state: State, before: Labels, after: Labels) -> State:
    """The state with the groups that were redrawn counted."""
    changed = sum(any(before.get(row) != after.get(row) for row in group) for group in problem.groups)
    return replace(state, iterations=state.iterations + len(problem.groups), accepted=state.accepted + changed)


def _known_best(state: State) -> Candidate:
    if state.best is None:
        raise AssertionError("a sweep has scored all rows")
    return state.best


def _restarts(summary: Mapping[str, object]) -> list[float]:
    utilities = summary.get("restart_utilities", [])
    return utilities if isinstance(utilities, list) else []
