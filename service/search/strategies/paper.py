"""Strategy `paper`: Algorithm 1 of arXiv 2506.10139 with the repair of Algorithm 2, to the letter; a yardstick.

It adds two things that the paper leaves open. It labels the rows that are still unlabelled after the last
draw, given all others. And it returns the complete labelling of highest utility that it has met, or a label
permutation of it with a higher one. Known rows are among the K examples, are never proposed or repaired,
and keep their labels in every permutation.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from service.identifiers import Row
from service.search.measures import polarity
from service.search.measures.audit import audit_step
from service.search.moves.proposal import free_rows, propose_row, seed_rows
from service.search.moves.redraw import redraw
from service.search.moves.repair import repair
from service.search.moves.schedule import accepts, draws, temperature
from service.search.predictions.scores import likeliest
from service.search.prompting import evaluation
from service.search.state.objective import Objective
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Candidate, Phase, Request, State, Step, StopReason, as_candidate, better
from service.search.strategies.annealing_cost import AnnealingCost
from service.search.strategies.approach import Approach
from service.search.strategies.queries_left import ANNEALING


@dataclass(frozen=True)
class Paper:
    """Simulated annealing over single rows, as in the paper."""

    def step(self, problem: Problem, state: State) -> Step:
        """Run one iteration of the algorithm, or one of the steps before and after the iterations."""
        match state.phase:
            case Phase.START:
                return self._start(problem, state)
            case Phase.DRAW if state.round < draws(problem.parameters, len(free_rows(problem))):
                return self._draw(problem, state)
            case Phase.DRAW | Phase.COMPLETE:
                return self._complete(problem, state)
            case Phase.POLARITY:
                return self._polarity(problem, state)
            case Phase.AUDIT:
                return audit_step(problem, state)
        raise AssertionError(state.phase)

    def _start(self, problem: Problem, state: State) -> Step:
        """Label K rows at random and repair (lines 1-2); behind an anchor, its demonstrations replace the K rows."""
        rng = problem.random("start")
        rows = [] if problem.prefix else seed_rows(problem, rng)
        labels = {row: rng.choice(problem.label_range) for row in rows}
        [candidate] = yield from evaluation.leave_one_out(problem, {**labels, **problem.known})
        candidate = yield from repair(problem, candidate, rng)
        return _moved_to(state.enter(Phase.DRAW), candidate, problem)

    def _draw(self, problem: Problem, state: State) -> Step:
        """Run one iteration (lines 4-12)."""
        rng = problem.random("draw", state.round)
        cooled = temperature(problem.parameters, state.round + 1)  # line 4
        row = propose_row(problem, state.labels, rng)  # line 5
        others = {other: label for other, label in state.labels.items() if other != row}
        scores = yield from evaluation.predict(problem, others, [row])
        label = likeliest(scores[row])  # line 6
        state = replace(state, round=state.round + 1, iterations=state.iterations + 1)
        if state.labels.get(row) == label:
            return state  # the same labelling has the same utility
        [proposed] = yield from evaluation.leave_one_out(problem, {**state.labels, row: label})  # line 7
        proposed = yield from repair(problem, proposed, rng)  # line 8
        gain = proposed.utility - _current(problem, state).utility
        if not accepts(gain, cooled, rng):  # lines 9-12
            return state
        return _moved_to(replace(state, accepted=state.accepted + 1), proposed, problem)

    def _complete(self, problem: Problem, state: State) -> Step:
        """Label the remaining rows given all others, consistently if the labels of related rows allow it."""
        rest = [row for row in problem.rows if row not in state.labels]
        candidate = _current(problem, state)
        if rest:
            candidate = yield from self._with_rest(problem, candidate, rest)
        best = better(state.best, candidate)
        after = Phase.DONE if problem.prefix else Phase.POLARITY
        stop = StopReason.DRAWS_DONE if after is Phase.DONE else None
        return _moved_to(state.enter(after, stop=stop), best, problem).with_facts(utility=best.utility)

    def _with_rest(
        self, problem: Problem, candidate: Candidate, rest: Sequence[Row]
    ) -> Generator[Request, Answer, Candidate]:
        scores = yield from evaluation.predict(problem, candidate.labels, rest)
        guesses = {row: likeliest(scores[row]) for row in rest}
        labels = redraw(problem, {**candidate.labels, **guesses}, scores)
        [complete] = yield from evaluation.leave_one_out(problem, labels)
        return complete

    def _polarity(self, problem: Problem, state: State) -> Step:
        """Score the label permutations, too, and keep the best."""
        candidate = _current(problem, state)
        permutations = polarity.permutations(problem, candidate.labels, candidate.scores)
        permuted = yield from evaluation.leave_one_out(problem, *permutations)
        best = max([candidate, *permuted], key=lambda labelling: labelling.utility)
        state = _moved_to(state.enter(Phase.AUDIT, stop=StopReason.DRAWS_DONE), best, problem)
        return state.with_facts(utility=best.utility)


def _current(problem: Problem, state: State) -> Candidate:
    return as_candidate(problem, state.labels, state.scores)


def _moved_to(state: State, candidate: Candidate, problem: Problem) -> State:
    """The state with this labelling; also as its best, if the labelling is complete and none was better."""
    complete = len(candidate.labels) == len(problem.rows)
    best = better(state.best, candidate) if complete else state.best
    return replace(state, labels=candidate.labels, scores=candidate.scores, best=best)


APPROACH = Approach(
    searches={Objective.UTILITY: Paper()}, cost=AnnealingCost(), forecasts={Objective.UTILITY: ANNEALING}
)
