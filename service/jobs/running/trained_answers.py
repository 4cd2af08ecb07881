"""Answers a search's requests for trainings: from the answer memory if possible, otherwise by training.

As soon as a training ends, its scores are stored like the answers to prompts, under keys over base, examples and
settings (`trained_keys`). So a worker that repeats an interrupted round gets the same answers, and makes only the
trainings again that had not ended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from service.identifiers import Row
from service.jobs.running.answer_cache import CachedScorer
from service.ports.trained_scores import TrainedScorer
from service.records.jobs import ClaimedShard
from service.search.predictions.prompt_tree import LogProbabilities, TreeScores
from service.search.predictions.training import TrainAndScore, Trainings
from service.search.prompting.recall import PromptKey, trained_keys
from service.search.state.steps import Answer


@dataclass(frozen=True, slots=True)
class RecalledTraining:
    """A training with the keys of its queries, and the stored answers to some of them."""

    request: TrainAndScore
    keys: dict[Row, PromptKey]
    answers: dict[PromptKey, LogProbabilities]

    @property
    def is_open(self) -> bool:
        """Whether the training must run: one unanswered query costs as much as all."""
        return any(key not in self.answers for key in self.keys.values())


@dataclass(frozen=True, slots=True)
class RecalledTrainings:
    """The trainings of a request."""

    trainings: Sequence[RecalledTraining]

    @property
    def open(self) -> Sequence[RecalledTraining]:
        """The trainings that must run."""
        return [training for training in self.trainings if training.is_open]


@dataclass
class CachedTrainer:
    """Runs the trainings of one shard; the shard's scorer counts their cost and stores their answers."""

    scorer: CachedScorer
    trainer: TrainedScorer
    claimed: ClaimedShard
    on_end: Callable[[RecalledTraining], Awaitable[None]]  # called with each finished training, one at a time
    _storing: asyncio.Lock = field(default_factory=asyncio.Lock)  # one training at a time adds its cost

    async def recall(self, request: Trainings) -> RecalledTrainings:
        """Look up the stored answers to a request. Raises StorageUnavailable and TrainingFailed."""
        trainer, task = await self.trainer.identify(), self.claimed.config.task
        recalled = []
        for one in request.requests:
            keys = await asyncio.to_thread(
                trained_keys,
                one,
                task.labels,
                project=self.claimed.project,
                trainer=trainer,
                separator=task.separator,
                all_spellings=task.all_spellings,
            )
            recalled.append(RecalledTraining(one, keys, await self.scorer.remembered_answers(set(keys.values()))))
        return RecalledTrainings(recalled)

    async def answer(self, recalled: RecalledTrainings, stop: asyncio.Event) -> Answer | None:
        """Run the missing trainings and store their answers; returns all answers, or None if `stop` was set meanwhile.

        If one training fails, the others end with it. Raises TrainingFailed, LeaseLost and StorageUnavailable.
        """
        self.scorer.count_remembered(sum(len(one.keys) for one in recalled.trainings if not one.is_open))
        tasks = [asyncio.create_task(self._train(training, stop)) for training in recalled.open]
        try:
            ended = [await task for task in asyncio.as_completed(tasks)]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not all(ended):
            return None
        return [
            TreeScores({row: training.answers[key] for row, key in training.keys.items()})
            for training in recalled.trainings
        ]

    async def _train(self, training: RecalledTraining, stop: asyncio.Event) -> bool:
        """Run a training and store its scores; returns False if it was stopped."""
        task = self.claimed.config.task
        found = await self.trainer.train_and_score(
            training.request, task.labels, separator=task.separator, stop=stop, all_spellings=task.all_spellings
        )
        if found is None:
            return False
        said = {training.keys[row]: values for row, values in found.log_probabilities.items()}
        async with self._storing:
            training.answers.update(await self.scorer.store(said, found.usage))
            await self.on_end(training)
        return True
