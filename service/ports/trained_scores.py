"""The port that trains a language model on labels and scores further rows with the result."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from service.search.predictions.prompt_tree import TreeScores
from service.search.predictions.training import TrainAndScore


class TrainedScorer(Protocol):
    """Trains one base, again and again from its beginning."""

    async def problem(self) -> str | None:
        """Why this process cannot train, and what to do about it; None if it can."""

    async def identify(self) -> str:
        """Identify the base's content and the device, which decide the scores. Raises TrainingFailed."""

    async def train_and_score(
        self,
        request: TrainAndScore,
        labels: Sequence[str],
        *,
        separator: str,
        stop: asyncio.Event,
        all_spellings: bool = False,
    ) -> TreeScores | None:
        """Train, and return log p(label | text) in nats for every query, with the cost of both.

        With `all_spellings` the probability of a label is that of all its spellings, as for `Scorer`; the training
        learns the label as it is. None if `stop` was set meanwhile; the same request resumes it. Raises TrainingFailed.
        """
