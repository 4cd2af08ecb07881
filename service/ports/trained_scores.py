"""The port to whoever trains a language model on labels and says what it then makes of other rows."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from service.search.predictions.prompt_tree import TreeScores
from service.search.predictions.training import TrainAndScore


class TrainedScorer(Protocol):
    """Trains one base, again and again from its beginning."""

    async def problem(self) -> str | None:
        """Why it cannot train here, and what to do about it; None where it can."""

    async def identify(self) -> str:
        """What decides the scores besides what is asked: the base's content, and where it is trained.

        Raises TrainingFailed where the base is not there.
        """

    async def train_and_score(
        self,
        asked: TrainAndScore,
        labels: Sequence[str],
        *,
        separator: str,
        stop: asyncio.Event,
        all_spellings: bool = False,
    ) -> TreeScores | None:
        """Train, then log p(label | text) in nats for every query, and what both have cost.

        With `all_spellings` the probability of a label is that of all its spellings, as for `Scorer`; the training
        learns the label as it is.

        None if `stop` was set meanwhile; the same request resumes it. Raises TrainingFailed.
        """
