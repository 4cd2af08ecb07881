"""Measures the speed of the trainings in a shard's search, from which the job's `eta_seconds` follows.

The measurement begins anew with each worker and counts no training whose answers were stored. Its unit is the token,
which for a large language model costs about the same in every training. The seconds until a training's process has
started count as spent on its tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.jobs.running.trained_answers import RecalledTraining
from service.ports.store import Store
from service.records.jobs import ClaimedShard, TrainingPace
from service.search.engine import Search
from service.search.strategies.approach import TokensLeft
from service.search.strategies.trained import tokens_read


@dataclass
class PaceOfTrainings:
    """The pace of one worker's run of a shard."""

    store: Store
    claimed: ClaimedShard
    search: Search
    left: TokensLeft
    _since_seconds: float | None = None
    _read: int = 0  # tokens of the trainings that have ended in this run
    _answered: int = 0  # tokens of the current step's trainings that have ended or were stored before
    _step: int = -1

    async def begin(self, trainings: Sequence[RecalledTraining]) -> None:
        """Note that the trainings of a step begin. Raises LeaseLost and StorageUnavailable."""
        self._step = self.search.state.step
        self._answered = sum(self._tokens(training) for training in trainings if not training.is_open)
        if self._since_seconds is None:
            async with self.store.worker_unit() as unit:
                _, self._since_seconds = await unit.shards.job_totals(self.claimed.lease.job_id)
                await unit.shards.set_pace(self.claimed.lease, None)  # an earlier worker's

    def ended(self, training: RecalledTraining) -> None:
        """Count a training that has ended."""
        self._read += self._tokens(training)
        self._answered += self._tokens(training)

    @property
    def measured(self) -> TrainingPace | None:
        """The pace so far and the tokens left; None until a training has ended."""
        if self._since_seconds is None or not self._read:
            return None
        state = self.search.state
        left = self.left(self.search.problem, state) - (self._answered if state.step == self._step else 0)
        return TrainingPace(since_seconds=self._since_seconds, tokens_read=self._read, tokens_left=max(0, left))

    def _tokens(self, training: RecalledTraining) -> int:
        return tokens_read(self.search.problem, training.request)
