"""Writes the rows of finished jobs as examples, related rows in one group."""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import orjson
from anyio import to_thread

from service.errors import Fault, InvalidConfig
from service.jobs.export.results import batches_of
from service.jobs.task.comparison import comparison_of
from service.jobs.task.related_rows import RelatedRows
from service.ports.store import ProjectStore
from service.records.jobs import Job
from service.records.labels import LabeledRow
from service.trainings.examples import Example, LabelExamples
from service.trainings.pairs import Pairs
from service.trainings.request import GOLD_CONTROLS, WRONG, TrainingKind, TrainingRequest

EXAMPLES = "examples.jsonl"


@dataclass(slots=True)
class Written:
    """What was written of a training's rows, counted as it goes."""

    rows: int = 0
    characters: int = 0  # of prompts and texts
    without_gold: int = 0
    left_out: int = 0  # rows of the jobs that taught nothing
    contradicted: int = 0  # pairs whose rows prefer different texts
    groups: Counter[str] = field(default_factory=Counter)

    def add(self, example: Example) -> None:
        """Count the next one."""
        self.rows += 1
        self.characters += sum(len(str(example.get(name, ""))) for name in ("prompt", "label", "chosen", "rejected"))
        self.without_gold += "gold" not in example
        self.groups[str(example["group"])] += 1


async def write_rows(store: ProjectStore, request: TrainingRequest, jobs: Sequence[Job], folder: Path) -> Written:
    """Write the examples into the folder. Raises InvalidConfig where they do not make a training.

    The rows are read twice, a bounded number at a time: once to find which belong together, once to be written.
    """
    written = Written()
    with (folder / EXAMPLES).open("w", encoding="utf-8") as file:
        for number, job in enumerate(jobs):
            await _write_job(store, request, (number, job), file, written)
    if faults := list(_faults(request, written)):
        raise InvalidConfig(WRONG, faults)
    return written


async def _write_job(
    store: ProjectStore, request: TrainingRequest, numbered: tuple[int, Job], file: TextIO, written: Written
) -> None:
    number, job = numbered
    related = RelatedRows(job.config.task.relations)
    pairs = _pairs(request, job)

    def look_at(rows: Sequence[LabeledRow]) -> None:
        for row in rows:
            related.add(orjson.loads(row.data), row.id)
            if pairs is not None:
                pairs.add(row)

    await _each_batch(store, job, look_at)
    groups = await to_thread.run_sync(related.groups)
    made = LabelExamples(job.config.task, request.rows) if pairs is None else pairs

    def write(rows: Sequence[LabeledRow]) -> None:
        for row in rows:
            example = made.of(row, f"{number}:{groups[row.state.position]}")
            if example is None:
                written.left_out += 1
            else:
                written.add(example)
                file.write(json.dumps(example, ensure_ascii=False) + "\n")

    await _each_batch(store, job, write)
    written.contradicted += 0 if pairs is None else pairs.contradicted


def _pairs(request: TrainingRequest, job: Job) -> Pairs | None:
    comparison = comparison_of(job.config.task)
    if request.kind is TrainingKind.LABEL or comparison is None:
        return None
    return Pairs(job.config.task, comparison, request.rows)


async def _each_batch(store: ProjectStore, job: Job, work: Callable[[Sequence[LabeledRow]], None]) -> None:
    batches: AsyncGenerator[list[LabeledRow], None] = batches_of(store, job)
    async with aclosing(batches):
        async for batch in batches:
            await to_thread.run_sync(work, batch)


def _faults(request: TrainingRequest, written: Written) -> list[Fault]:
    """What keeps these rows from making a training."""
    if not written.rows:
        told = "no rows are left to learn from: lower rows.min_confidence, or let more rows.statuses in"
        return [Fault(told, field="rows")]
    faults = []
    gold = [control for control in request.controls if control in GOLD_CONTROLS]
    if gold and written.without_gold:
        told = f"{gold[0]} needs a gold label for every row; {written.without_gold} of {written.rows} rows have none"
        faults.append(Fault(told, field="controls"))
    share, smallest = request.rows.holdout, min(written.groups.values())
    if share > 0 and (smallest > round(share * written.rows) or smallest == written.rows):
        told = (
            f"no group of related rows fits into {share:g} of {written.rows} rows: the smallest has {smallest}; "
            "give a larger share, or 0 to hold out nothing"
        )
        faults.append(Fault(told, field="rows.holdout"))
    return faults
