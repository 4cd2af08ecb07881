"""Writes the rows of finished jobs into the file of examples that a training reads; related rows share a group."""

import heapq
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TextIO, assert_never

import orjson
from anyio import to_thread

from service.errors import Fault, InvalidConfig
from service.jobs.export.results import batches_of
from service.jobs.task.comparison import comparison_of
from service.jobs.task.related_rows import RelatedRows
from service.ports.store import ProjectStore
from service.records.jobs import Job
from service.records.labels import LabeledRow, LabelStatus
from service.records.training_kinds import TrainingKind
from service.trainings.examples import Example, LabelExamples
from service.trainings.pairs import Pairs
from service.trainings.prompts import JobPrompts, Prompts, doubts_of_prompts
from service.trainings.request import GOLD_CONTROLS, WRONG, TrainingRequest
from service.values import by_number, counted

EXAMPLES = "examples.jsonl"
LONGEST = 8  # examples kept: of two texts the one with fewer characters may have more tokens
STEP_PROMPTS = 8  # that a policy's step reads, by the command's default of batch_rows


@dataclass(slots=True)
class Written:
    """Counts of the examples written so far."""

    rows: int = 0
    characters: int = 0  # of prompts and texts
    without_gold: int = 0
    left_out: int = 0  # rows of the jobs that became no example
    contradicted: int = 0  # pairs whose rows prefer different texts
    groups: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)  # of examples of kind label
    statuses: Counter[LabelStatus] = field(default_factory=Counter)  # of the rows that were left out
    doubts: tuple[str, ...] = ()  # about prompts
    sized: list[tuple[int, int, Example]] = field(default_factory=list)  # a heap of the longest, by characters

    def add(self, example: Example) -> None:
        """Count an example."""
        self.rows += 1
        characters = sum(len(str(example.get(name, ""))) for name in ("prompt", "label", "chosen", "rejected"))
        self.characters += characters
        keep = heapq.heappush if len(self.sized) < LONGEST else heapq.heappushpop
        keep(self.sized, (characters, -self.rows, example))
        self.without_gold += "gold" not in example
        self.groups[str(example["group"])] += 1
        if "label" in example:
            self.labels[example["label"]] += 1

    @property
    def longest(self) -> list[Example]:
        """Some of the longest examples, the longest first."""
        return [example for _, _, example in sorted(self.sized, key=lambda sized: sized[:2], reverse=True)]


async def write_rows(store: ProjectStore, request: TrainingRequest, jobs: Sequence[Job], folder: Path) -> Written:
    """Write the examples into the folder. Raises InvalidConfig if nothing can be trained on them.

    Reads the rows twice, in batches: the first pass finds related rows, the second writes examples.
    """
    written, prompts = Written(), Prompts(None if request.policy is None else request.policy.prompt)
    with (folder / EXAMPLES).open("w", encoding="utf-8") as file:
        for number, job in enumerate(jobs):
            maker = _maker(request, job, prompts)
            await _write_job(store, (number, job), maker, file, written)
    doubts = (doubts_of_prompts(request, jobs, prompts), doubts_of_labels(written), doubts_of_rows(request, written))
    written.doubts = tuple(chain.from_iterable(doubts))
    if faults := list(_faults(request, written)):
        raise InvalidConfig(WRONG, faults)
    return written


async def _write_job(
    store: ProjectStore, numbered: tuple[int, Job], maker: "_Maker", file: TextIO, written: Written
) -> None:
    number, job = numbered
    related = RelatedRows(job.config.task.relations)
    pairs = maker if isinstance(maker, Pairs) else None

    def collect(rows: Sequence[LabeledRow]) -> None:
        for row in rows:
            related.add(orjson.loads(row.data), row.id)
            if pairs is not None:
                pairs.add(row)

    await _each_batch(store, job, collect)
    groups = await to_thread.run_sync(related.groups)

    def write(rows: Sequence[LabeledRow]) -> None:
        for row in rows:
            example = maker.of(row, f"{number}:{groups[row.state.position]}")
            if example is None:
                written.left_out += 1
                written.statuses[row.state.status] += 1
            else:
                written.add(example)
                file.write(json.dumps(example, ensure_ascii=False) + "\n")

    await _each_batch(store, job, write)
    written.contradicted += 0 if pairs is None else pairs.contradicted


_Maker = LabelExamples | Pairs | JobPrompts


def _maker(request: TrainingRequest, job: Job, prompts: Prompts) -> _Maker:
    """Turns the job's rows into examples of this kind of training."""
    task = job.config.task
    match request.kind:
        case TrainingKind.LABEL:
            return LabelExamples(task, request.rows)
        case TrainingKind.REWARD:
            comparison = comparison_of(task)
            assert comparison is not None  # noqa: S101 - `read_sources` refuses jobs that compare nothing
            return Pairs(task, comparison, request.rows)
        case TrainingKind.POLICY:
            return prompts.of_job(job)
        case _:
            assert_never(request.kind)


async def _each_batch(store: ProjectStore, job: Job, work: Callable[[Sequence[LabeledRow]], None]) -> None:
    batches: AsyncGenerator[list[LabeledRow], None] = batches_of(store, job)
    async with aclosing(batches):
        async for batch in batches:
            await to_thread.run_sync(work, batch)


def _faults(request: TrainingRequest, written: Written) -> list[Fault]:
    """The reasons why these rows cannot be trained on."""
    if request.kind is TrainingKind.POLICY:
        return list(_faults_of_prompts(request, written))
    if not written.rows:
        reasons = "; ".join(why_nothing_is_left(request, written))
        return [Fault(f"no rows are left to learn from: {reasons}", field="rows")]
    faults = []
    gold = [control for control in request.controls if control in GOLD_CONTROLS]
    if gold and written.without_gold:
        noun = "pair" if request.kind is TrainingKind.REWARD else "row"
        have = by_number(written.without_gold, "has", "have")
        lacking = f"{written.without_gold} of {counted(written.rows, noun)} {have} none"
        message = f"{gold[0]} needs a gold label for every {noun}; {lacking}"
        faults.append(Fault(message, field="controls"))
    if (unfit := _unfit_share(request.rows.holdout, written)) is not None:
        faults.append(Fault(f"{unfit}, or 0 to hold out nothing", field="rows.holdout"))
    return faults


def why_nothing_is_left(request: TrainingRequest, written: Written) -> Iterator[str]:
    """Why rows became no examples, with what to do."""
    wanted, left_out = request.rows.statuses, written.statuses
    if written.contradicted:
        yield f"{written.contradicted} pairs are left out, since rows that compare the same two texts disagree"
    elif (unsure := sum(left_out[status] for status in wanted)) and request.rows.min_confidence > 0:
        yield f"{unsure} rows have a label that is less sure than rows.min_confidence; lower it"
    elif unsure:
        yield f"{unsure} rows have two texts that are equal, or one that is blank"
    if uncertain := left_out[LabelStatus.UNCERTAIN] * (LabelStatus.UNCERTAIN not in wanted):
        are = by_number(uncertain, "is", "are")
        remedy = "add `uncertain` to rows.statuses (`icm train --uncertain`) if you trust their labels"
        yield f"{counted(uncertain, 'row')} {are} uncertain; {remedy}"
    if unlabeled := left_out[LabelStatus.UNLABELED]:
        yield f"{counted(unlabeled, 'row')} {by_number(unlabeled, 'has', 'have')} no label"


def doubts_of_labels(written: Written) -> Iterator[str]:
    """A warning if there is nothing to tell apart."""
    if len(written.labels) == 1 < written.rows:
        [label] = written.labels
        yield (
            f"all {written.rows} rows have the label {label!r}, so the model learns to give it to every text; add jobs "
            "with rows of other labels"
        )


def doubts_of_rows(request: TrainingRequest, written: Written) -> Iterator[str]:
    """A warning if more rows are left out than learned from: the training is smaller than its jobs let expect."""
    if request.kind is TrainingKind.LABEL and written.left_out > written.rows > 0:
        of_all = f"{written.left_out} of {written.rows + written.left_out} rows"
        yield f"{of_all} of the jobs are left out: {'; '.join(why_nothing_is_left(request, written))}"


def _faults_of_prompts(request: TrainingRequest, written: Written) -> Iterator[Fault]:
    """The reasons why these prompts cannot train a policy."""
    if not written.rows:
        message = "no row gives a prompt, since a column that it reads is empty in every row; name other ones"
        yield Fault(message, field="policy.prompt")
        return
    share = request.rows.holdout
    if (unfit := _unfit_share(share, written)) is not None:
        yield Fault(unfit, field="rows.holdout")
    elif (left := written.rows - round(share * written.rows)) < STEP_PROMPTS:
        message = (
            f"of {counted(written.rows, 'distinct prompt')} {left} {by_number(left, 'is', 'are')} left to train on, "
            f"and a step reads {STEP_PROMPTS}; "
            "give jobs with more rows, or hold out a smaller share in rows.holdout"
        )
        yield Fault(message, field="job_ids")


def _unfit_share(share: float, written: Written) -> str | None:
    """Why this share of the rows cannot be held out."""
    smallest = min(written.groups.values())
    if share <= 0 or (smallest <= round(share * written.rows) and smallest < written.rows):
        return None
    return (
        f"no group of related rows fits into {share:g} of {counted(written.rows, 'row')}: the smallest has {smallest}; "
        "give a larger share"
    )
