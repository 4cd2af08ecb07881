"""Answers the trainings that a search asks for: from memory where that is possible, else by training.

What a training has said is stored like the answers to prompts, under keys over base, examples and settings
(`trained_keys`), as soon as it has ended: before the others of a request, and before the search is told. So a round
that was cut off is taken again with the same answers, and only the trainings that had not ended are made again.
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
class AskedTraining:
    """A training with the keys of its queries, and which of them are answered."""

    asked: TrainAndScore
    keys: dict[Row, PromptKey]
    answers: dict[PromptKey, LogProbabilities]

    @property
    def is_open(self) -> bool:
        """Whether it has to be made: for one query it costs as much as for all."""
        return any(key not in self.answers for key in self.keys.values())


@dataclass(frozen=True, slots=True)
class TrainingQuestion:
    """The trainings of a request."""

    trainings: Sequence[AskedTraining]

    @property
    def open(self) -> Sequence[AskedTraining]:
        """Those that have to be made."""
        return [training for training in self.trainings if training.is_open]


@dataclass
class CachedTrainer:
    """Trains for one shard; cost and memory are those of its scorer of prompts."""

    scorer: CachedScorer
    trainer: TrainedScorer
    claimed: ClaimedShard
    on_end: Callable[[AskedTraining], Awaitable[None]]  # of each training that was made, one after the other
    _storing: asyncio.Lock = field(default_factory=asyncio.Lock)  # what was spent is counted one after the other

    async def recall(self, request: Trainings) -> TrainingQuestion:
        """The question with what is remembered of its answers. Raises StorageUnavailable and TrainingFailed."""
        trainer, task = await self.trainer.identify(), self.claimed.config.task
        asked = []
        for one in request.asked:
            keys = await asyncio.to_thread(
                trained_keys,
                one,
                task.labels,
                project=self.claimed.project,
                trainer=trainer,
                separator=task.separator,
            )
            asked.append(AskedTraining(one, keys, await self.scorer.remembered_answers(set(keys.values()))))
        return TrainingQuestion(asked)

    async def answer(self, question: TrainingQuestion, stop: asyncio.Event) -> Answer | None:
        """The answers to all trainings, every one of them stored; None where `stop` was set meanwhile.

        Raises TrainingFailed, LeaseLost and StorageUnavailable; the other trainings end with the first that fails.
        """
        self.scorer.note_remembered(sum(len(one.keys) for one in question.trainings if not one.is_open))
        tasks = [asyncio.create_task(self._train(training, stop)) for training in question.open]
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
            for training in question.trainings
        ]

    async def _train(self, training: AskedTraining, stop: asyncio.Event) -> bool:
        """Make a training and store what it says; False where it was told to stop."""
        task = self.claimed.config.task
        found = await self.trainer.train_and_score(training.asked, task.labels, separator=task.separator, stop=stop)
        if found is None:
            return False
        said = {training.keys[row]: values for row, values in found.log_probabilities.items()}
        async with self._storing:
            training.answers.update(await self.scorer.store(said, found.usage))
            await self.on_end(training)
        return True
