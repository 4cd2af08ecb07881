"""Baseline `zero_shot`: every row alone, without demonstrations."""

from dataclasses import dataclass

from service.search import planner
from service.search.objective import likeliest, utility
from service.search.problem import Problem
from service.search.steps import Phase, State, Step, StopReason, ask


@dataclass(frozen=True)
class ZeroShot:
    """The likeliest label of each row, rules ignored."""

    def step(self, problem: Problem, state: State) -> Step:
        """Ask for all rows at once."""
        [scores] = yield from ask(planner.behind(problem, (), {}, problem.rows))
        labels = {row: likeliest(scores[row]) for row in problem.rows}
        state = state.enter(Phase.DONE, labels=labels, scores=scores, stop=StopReason.ASKED_ONCE)
        return state.noting(utility=utility(problem, labels, scores))
