"""Drives a search from outside by ask and tell; whoever drives it does the waiting."""

from dataclasses import replace

from service.search.predictions.training import Trainings
from service.search.state.problem import Problem
from service.search.state.steps import Answer, Phase, Request, State, Step, Strategy


class Search:
    """A strategy at work on a problem.

    `ask` gives the prompt trees or the trainings whose scores are needed next, `tell` takes the answers.
    `state` changes only when a step has ended; before that, nothing of the step has left
    a trace, so a stored state is always a place to go on from.
    """

    def __init__(self, problem: Problem, strategy: Strategy, state: State | None = None) -> None:
        self.problem = problem
        self.state = state or State()
        self._strategy = strategy
        self._step: Step | None = None
        self._request: Request | Trainings | None = None

    def ask(self) -> Request | Trainings | None:
        """What must be scored next; nothing once the search is done. Asked again, the same answer."""
        while self._request is None and self.state.phase is not Phase.DONE:
            self._step = self._strategy.step(self.problem, self.state)
            self._advance(None)
        return self._request

    def tell(self, answer: Answer) -> bool:
        """Take the scores that `ask` asked for, in its order; says whether a step has ended."""
        if self._request is None or len(answer) != len(self._request):
            raise ValueError("tell answers what ask has asked for, tree by tree or training by training")
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
