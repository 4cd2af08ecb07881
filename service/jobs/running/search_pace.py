"""Measures what a shard's search still asks, from which the job's `eta_seconds` follows."""

from dataclasses import dataclass, field

from service.records.jobs import SearchPace
from service.search.engine import Search
from service.search.state.steps import State
from service.search.strategies.queries_left import DrawCosts, Forecast


@dataclass
class PaceOfSearch:
    """The pace of one worker's run of a shard."""

    search: Search
    forecast: Forecast
    costs: DrawCosts = field(default_factory=DrawCosts)
    _step: int = -1
    _answered: int = 0  # queries of the current step that have an answer, from the backend or from memory
    _open: int = 0  # queries of the current request that have none
    _queries: int = 0  # that the backend has answered in this run
    _prompts: int = 0  # of these queries: several if labels have several tokens

    def begin(self, remembered: int, unanswered: int) -> None:
        """Note that a request begins, with the numbers of its queries that memory answers and that it does not."""
        if self.search.state.step != self._step:
            self._step, self._answered = self.search.state.step, 0
        self._answered += remembered
        self._open = unanswered

    def scored(self, queries: int, prompts: int) -> None:
        """Count queries that the backend has answered."""
        self._answered += queries
        self._open = max(0, self._open - queries)
        self._queries += queries
        self._prompts += prompts

    def note_answers(self, before: State) -> None:
        """Note that the search has its answers, and was in the state `before`."""
        if self.search.state.step > before.step:
            self.costs.note(before, self.search.state, self._answered)

    @property
    def measured(self) -> SearchPace | None:
        """What the search still asks; None until the backend has answered."""
        if not self._queries:
            return None
        state = self.search.state
        left = self.forecast.left(self.search.problem, state, self.costs)
        if state.step == self._step:
            left -= self._answered
        each = self._prompts / self._queries
        return SearchPace(
            prompts_left=max(left, self._open) * each, prompts_per_query=each, prompts_under_way=self._open * each
        )
