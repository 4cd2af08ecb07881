"""Says what a training would be made of and what it would cost, as far as that is known; stores nothing."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from service.identifiers import JobId
from service.ports.bases import Bases
from service.ports.scoring import Scorer, Scorers
from service.ports.store import ProjectStore
from service.records.jobs import JobStatus
from service.trainings.create import chosen_base, doubts_of_base, warnings_of
from service.trainings.request import TrainingRequest
from service.trainings.rows import EXAMPLES, write_rows
from service.trainings.sources import read_sources

_SAMPLE_ROWS = 256
_LOOKED_BACK = 50  # trainings among which one like it is looked for
_TEXTS = ("prompt", "label", "chosen", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEstimate:
    """What a training would be made of, and what it would cost by one like it."""

    base: str
    rows: int
    held_out: int
    left_out: int  # rows of the jobs that teach nothing
    tokens: int  # of all epochs, controls not counted
    seconds: float | None  # by the tokens per second of `measured_by`
    memory_bytes: int | None  # the most that `measured_by` had
    measured_by: JobId | None  # the project's latest training of that base by that method; without one nothing is known
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Measured:
    training_id: JobId
    tokens_per_second: float
    memory_bytes: int


async def estimate_training(
    request: TrainingRequest, store: ProjectStore, scorers: Scorers, bases: Bases
) -> TrainingEstimate:
    """Check the jobs as for a training and count; tokens are those of the jobs' own model, from a sample of rows.

    Raises InvalidConfig, ModelNotFound, BackendError and StorageUnavailable.
    """
    jobs = await read_sources(store, request)
    base = chosen_base(request, jobs, bases)
    with TemporaryDirectory(prefix="icm-training-") as folder:
        written = await write_rows(store, request, jobs, Path(folder))
        per_character = await _tokens_per_character(scorers.get(jobs[0].config.model), Path(folder) / EXAMPLES)
    held_out = round(request.rows.holdout * written.rows)
    share = (written.rows - held_out) / written.rows
    tokens = math.ceil(written.characters * per_character * share) * request.epochs
    measured = await _measured(store, base, request)
    return TrainingEstimate(
        base=base,
        rows=written.rows,
        held_out=held_out,
        left_out=written.left_out,
        tokens=tokens,
        seconds=None if measured is None else tokens / measured.tokens_per_second,
        memory_bytes=None if measured is None else measured.memory_bytes,
        measured_by=None if measured is None else measured.training_id,
        warnings=(*warnings_of(request, written), *await doubts_of_base(store, request, base, bases)),
    )


async def _tokens_per_character(scorer: Scorer, examples: Path) -> float:
    with examples.open(encoding="utf-8") as file:
        sample = [json.loads(line) for line in islice(file, _SAMPLE_ROWS)]
    texts: Sequence[str] = [str(row[name]) for row in sample for name in _TEXTS if row.get(name)]
    return sum(await scorer.count_tokens(texts)) / sum(map(len, texts))


async def _measured(store: ProjectStore, base: str, request: TrainingRequest) -> _Measured | None:
    """The project's latest training of this base by this method and kind."""
    async with store.project_unit() as unit:
        for training in await unit.trainings.page(limit=_LOOKED_BACK, before=None, status=JobStatus.SUCCEEDED):
            config = training.config
            if (training.base, config.get("method"), config.get("kind")) == (base, request.method, request.kind):
                found = (await unit.trainings.report(training.id)).report["training"]
                memory = found["peak_memory"]["gpu_bytes"] or found["peak_memory"]["bytes"]
                return _Measured(training.id, found["tokens_per_second"], memory)
    return None
