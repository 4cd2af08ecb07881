"""Strategy `authors`: Algorithm 1 as the released code of arXiv 2506.10139 runs it; a yardstick.

The code differs from the paper in these points. Mutual predictability is the mean log-odds of the
labels, which can be positive. The seeds are balanced over the labels. A proposal that changes no label
needs no further scores. Repair visits the conflicts in random order, tries two options for each, and
keeps its first repair of a proposal even if utility falls. The temperature falls with the number of
accepted changes, with 2 in place of beta. The search returns the last labelling instead of the best,
and leaves rows unlabelled that no draw has met.

Known rows are among the seeds and keep their labels. The released code also makes keys from gold
labels; this one does not: conflicts come from the relations alone.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from random import Random

from service.identifiers import Label, Row
from service.search.measures.audit import audit_step
from service.search.moves.proposal import free_rows, propose_row, seed_rows
from service.search.moves.schedule import accepts, draws
from service.search.predictions.scores import likeliest, margin
from service.search.prompting import evaluation
from service.search.rules.consistency import Conflict, Labels
from service.search.state.objective import Objective
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Candidate, Phase, Request, State, Step, StopReason
from service.search.strategies.annealing_cost import AnnealingCost
from service.search.strategies.approach import Approach
from service.search.strategies.queries_left import ANNEALING

COOLING = 2.0  # in place of beta


@dataclass(frozen=True)
class Authors:
    """Simulated annealing over single rows, as in the released code."""

    def step(self, problem: Problem, state: State) -> Step:
        """Run one draw, the start or the audit."""
        match state.phase:
            case Phase.START:
                return self._start(problem, state)
            case Phase.DRAW:
                return self._draw(problem, state)
            case Phase.AUDIT:
                return audit_step(problem, state)
        raise AssertionError(state.phase)

    def _start(self, problem: Problem, state: State) -> Step:
        """Label K rows with each label equally often, and repair."""
        rng = problem.random("start")
        rows = [] if problem.prefix else seed_rows(problem, rng)
        labels = {row: problem.label_range[number % problem.classes] for number, row in enumerate(rows)}
        candidate = yield from _repair(problem, {**labels, **problem.known}, rng)
        return _moved_to(state.enter(Phase.DRAW), candidate)

    def _draw(self, problem: Problem, state: State) -> Step:
        """Propose the likeliest label of a random row; accept or reject it by the change in utility."""
        if state.round >= draws(problem.parameters, len(free_rows(problem))):
            after = Phase.DONE if problem.prefix else Phase.AUDIT
            return state.enter(after, stop=StopReason.DRAWS_DONE).with_facts(utility=_current(problem, state).utility)
        rng = problem.random("draw", state.round)
        row = propose_row(problem, state.labels, rng)
        others = {other: label for other, label in state.labels.items() if other != row}
        scores = yield from evaluation.predict(problem, others, [row])
        label = likeliest(scores[row])
        state = replace(state, round=state.round + 1, iterations=state.iterations + 1)
        if state.labels.get(row) == label:
            return state
        proposed = yield from _repair(problem, {**state.labels, row: label}, rng)
        gain = proposed.utility - _current(problem, state).utility
        if not accepts(gain, temperature(problem, state.accepted), rng):
            return state
        return _moved_to(replace(state, accepted=state.accepted + 1), proposed)


def temperature(problem: Problem, accepted: int) -> float:
    """T = max(T_min, T_0 / (1 + 2 log(1 + changes accepted)))."""
    cooled = problem.parameters.initial_temperature / (1 + COOLING * math.log(1 + accepted))
    return max(problem.parameters.final_temperature, cooled)


def as_released(problem: Problem, labels: Labels, found: Candidate) -> Candidate:
    """The labelling with the released code's utility: alpha times the mean log-odds, less the number of conflicts."""
    odds = [margin(found.scores[row], label) for row, label in labels.items()]
    predictability = math.fsum(odds) / len(odds) if odds else 0.0
    utility = problem.parameters.alpha * predictability - len(problem.constraints.conflicts(labels))
    return Candidate(dict(labels), found.scores, utility)


def two_options(problem: Problem, labels: Labels, conflict: Conflict) -> list[dict[Row, Label]]:
    """The two options of the released code for a conflict.

    If both rows have the same label, the options give them different ones, either way round; if the rows
    differ, the options give both the label of one of them. Options that change a known row's label are left out.
    """
    first, last = conflict[0], conflict[-1]
    one, other = labels[first], labels[last]
    if one == other:
        other = next(label for label in problem.label_range if label != one)
        choices = [(one, other), (other, one)]
    else:
        choices = [(one, one), (other, other)]
    options = [{**labels, first: left, last: right} for left, right in choices]
    return [option for option in options if all(option[row] == problem.known.get(row, option[row]) for row in conflict)]


def _repair(problem: Problem, labels: Labels, rng: Random) -> Generator[Request, Answer, Candidate]:
    """The labelling after the released code's repair, with its scores; unchanged if it has no conflicts."""
    best: Candidate | None = None
    for _ in range(problem.parameters.repair_rounds):
        better = yield from _first_improvement(problem, labels if best is None else best.labels, best, rng)
        if better is None:
            break
        best = better
    if best is not None:
        return best
    [found] = yield from evaluation.leave_one_out(problem, labels)
    return as_released(problem, labels, found)


def _first_improvement(
    problem: Problem, labels: Labels, best: Candidate | None, rng: Random
) -> Generator[Request, Answer, Candidate | None]:
    """The better option of the first conflict, in random order, whose option raises utility.

    While there is no `best` yet, the first conflict's better option counts as an improvement.
    """
    conflicts = problem.constraints.conflicts(labels)
    for conflict in rng.sample(conflicts, len(conflicts)):
        if not (options := two_options(problem, labels, conflict)):
            continue
        evaluated = yield from evaluation.leave_one_out(problem, *options)
        released = [as_released(problem, option, found) for option, found in zip(options, evaluated, strict=True)]
        found = max(released, key=lambda candidate: candidate.utility)
        if best is None or found.utility > best.utility:
            return found
    return None


def _current(problem: Problem, state: State) -> Candidate:
    return as_released(problem, state.labels, Candidate(state.labels, state.scores, 0.0))


def _moved_to(state: State, candidate: Candidate) -> State:
    return replace(state, labels=candidate.labels, scores=candidate.scores)


APPROACH = Approach(
    searches={Objective.UTILITY: Authors()}, cost=AnnealingCost(), forecasts={Objective.UTILITY: ANNEALING}
)
