"""Runs a strategy step by step (ask and tell): the search requests scores, and the caller passes them back."""

from dataclasses import replace

from service.search.predictions.training import Trainings
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Phase, Request, State, Step, Strategy


class Search:
    """One run of a strategy on one problem.

    `ask` returns the prompt trees or the trainings whose scores the search needs next, `tell` takes the answers.
    `state` changes only at the end of a step. So the caller can store it at any time and later
    resume the search from it.
    """

    def __init__(self, problem: Problem, strategy: Strategy, state: State | None = None) -> None:
        self.problem = problem
        self.state = state or State()
        self._strategy = strategy
        self._step: Step | None = None
        self._request: Request | Trainings | None = None

    def ask(self) -> Request | Trainings | None:
        """Return what to score next, None once the search is done. Repeated calls return the same."""
        while self._request is None and self.state.phase is not Phase.DONE:
            self._step = self._strategy.step(self.problem, self.state)
            self._advance(None)
        return self._request

    def tell(self, answer: Answer) -> bool:
        """Take the scores of the trees that `ask` returned, in the same order; return True if that ended a step."""
        if self._request is None or len(answer) != len(self._request):
            raise ValueError("tell needs one answer for each tree or training that ask has returned")
        step = self.state.step
        self._advance(answer)
        return self.state.step > step

    def _advance(self, answer: Answer | None) -> None:
        if self._step is None:
            raise AssertionError("a step is under way")
        try:
            self._request = next(self._step) if answer is None else self._step.send(answer)
        except StopIteration as end:
            state: State = end.value
            self.state = replace(state, step=self.state.step + 1)
            self._step = self._request = None
