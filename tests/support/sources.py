"""Data sets and backends for tests of use cases."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from api.labelling.configuration import parse_config
from service.config import JobConfig, Task
from service.errors import Fault, InvalidDataset
from service.intake.bounds.limits import Limits
from service.intake.sources import InlineSource
from service.jobs.checks.survey import Survey, survey_rows
from service.ports.scoring import Scorer
from service.records.scoring import BackendInfo
from service.scoring.deterministic import DeterministicScorer
from service.search.predictions.prompt_tree import PromptTree, TreeScores, Usage
from service.search.predictions.training import TrainAndScore

LIMITS = Limits(max_bytes=10_000_000, max_rows=10_000, max_row_bytes=64_000)


def source(*examples: Any) -> InlineSource:
    return InlineSource(examples, LIMITS)


def config(template: str = "{q} is", *, search: Mapping[str, Any] | None = None, **task: Any) -> JobConfig:
    return parse_config({"task": {"template": template, **task}, "search": search or {}})


def survey(task: Task, *examples: Any) -> Survey:
    return survey_rows(source(*examples), task)


def faults_of(task: Task, *examples: Any) -> list[tuple[int | None, str | None, str]]:
    """The faults of the examples: line, field, message."""
    try:
        survey_rows(source(*examples), task)
    except InvalidDataset as error:
        return [_as_tuple(fault) for fault in error.faults]
    return []


def _as_tuple(fault: Fault) -> tuple[int | None, str | None, str]:
    return fault.line, fault.field, fault.message


class CountingScorer(DeterministicScorer):
    """A scorer that knows its context and records the texts that it counted: one token per word."""

    def __init__(
        self,
        context_tokens: int | None = 8192,
        *,
        problems: Sequence[str] = (),
        advice: Sequence[str] = (),
        reachable: bool = True,
    ) -> None:
        super().__init__()
        self.counted: list[str] = []
        self._info = BackendInfo(
            name="default",
            kind="counting",
            ready=not problems,
            reachable=reachable,
            context_tokens=context_tokens,
            problems=tuple(problems),
            advice=tuple(advice),
        )

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        return self._info

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        self.counted += texts
        return await super().count_tokens(texts)


class PretendTrainer:
    """A trainer that learns what the deterministic scorer, or another, reads from a prompt; records its requests.

    `at_training` has what happens just before the n-th training, from 1.
    """

    def __init__(self, *, problem: str | None = None, scorer: Scorer | None = None) -> None:
        self.trainings: list[TrainAndScore] = []
        self.all_spellings = set[bool]()  # how it was asked to spell
        self.stopped = 0
        self.base = "base"
        self.at_training = dict[int, Callable[[], None]]()
        self._problem = problem
        self._twin = scorer or DeterministicScorer()

    async def problem(self) -> str | None:
        return self._problem

    async def identify(self) -> str:
        return self.base

    async def train_and_score(
        self,
        asked: TrainAndScore,
        labels: Sequence[str],
        *,
        separator: str,
        stop: asyncio.Event,
        all_spellings: bool = False,
    ) -> TreeScores | None:
        self.trainings.append(asked)
        self.all_spellings.add(all_spellings)
        if happens := self.at_training.get(len(self.trainings)):
            happens()
        await asyncio.sleep(0)
        if stop.is_set():
            self.stopped += 1
            return None
        shown = "".join(f"{example.text} {labels[example.label]}{separator}" for example in asked.examples)
        found = await self._twin.score(PromptTree(shown, asked.queries), labels)
        learned = asked.epochs * len(asked.examples)
        read = learned + len(asked.queries)
        usage = Usage(len(asked.queries), read, read, trainings=1, tokens_trained=learned)
        return TreeScores(found.log_probabilities, usage)
