"""Estimates the rows, tokens, time and memory of a training before it is created; stores nothing."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from service.identifiers import JobId, is_training_id
from service.ports.bases import Bases
from service.ports.scoring import Scorer, Scorers
from service.ports.store import ProjectStore
from service.records.jobs import JobStatus
from service.trainings.base_checks import doubts_of_fit
from service.trainings.create import chosen_base, doubts_of_base, warnings_of
from service.trainings.request import TrainingRequest
from service.trainings.rows import EXAMPLES, STEP_PROMPTS, Written, write_rows
from service.trainings.sources import read_sources

_SAMPLE_ROWS = 256
_RECENT_TRAININGS = 50  # among which the estimate looks for a comparable one
_TEXTS = ("prompt", "label", "chosen", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEstimate:
    """The rows and tokens of a training, and its time and memory by a comparable training that has ended."""

    base: str
    rows: int
    held_out: int
    left_out: int  # rows of the jobs that become no example
    tokens: int  # of all epochs, controls not counted; of a policy the most there can be
    seconds: float | None  # at the tokens per second of `measured_by`
    memory_bytes: int | None  # peak memory of `measured_by`
    measured_by: JobId | None  # the project's latest training of that base, method and kind; None if it has none
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Measured:
    training_id: JobId
    tokens_per_second: float
    memory_bytes: int

    def seconds(self, tokens: int) -> float | None:
        """How long a training of `tokens` takes; None if the comparable one was too short to measure."""
        return tokens / self.tokens_per_second if self.tokens_per_second else None


async def estimate_training(
    request: TrainingRequest, store: ProjectStore, scorers: Scorers, bases: Bases
) -> TrainingEstimate:
    """Check the sources as `create_training` does, and count rows and tokens.

    The first job's backend counts the tokens of a sample of rows; the estimate scales them to all rows.

    Raises InvalidConfig, ModelNotFound, BackendError and StorageUnavailable.
    """
    sources = await read_sources(store, request)
    base = chosen_base(request, sources, bases)
    with TemporaryDirectory(prefix="icm-training-") as folder:
        written = await write_rows(store, request, sources.jobs, Path(folder))
        doubts = (
            *await doubts_of_base(store, request, base, bases),
            *await doubts_of_fit(request, base, bases, written),
        )
        model = sources.jobs[0].config.model
        if is_training_id(model) and model not in scorers.names():
            model = base  # an adapter has its base's tokenizer
        per_character = await _tokens_per_character(scorers.get(model), Path(folder) / EXAMPLES)
    held_out = round(request.rows.holdout * written.rows)
    tokens = _tokens_of_epoch(request, written, written.rows - held_out, per_character) * request.epochs
    measured = await _measured(store, base, request)
    return TrainingEstimate(
        base=base,
        rows=written.rows,
        held_out=held_out,
        left_out=written.left_out,
        tokens=tokens,
        seconds=None if measured is None else measured.seconds(tokens),
        memory_bytes=None if measured is None else measured.memory_bytes,
        measured_by=None if measured is None else measured.training_id,
        warnings=(*warnings_of(request, sources, written), *doubts),
    )


def _tokens_of_epoch(request: TrainingRequest, written: Written, trained: int, per_character: float) -> int:
    """The tokens of an epoch; completions of a policy count at their maximum length."""
    characters = written.characters * trained / written.rows
    if request.policy is None:
        return math.ceil(characters * per_character)
    whole_steps = trained // STEP_PROMPTS * STEP_PROMPTS / trained  # the command leaves an incomplete one out
    tokens = characters * per_character + trained * request.policy.completion_tokens
    return math.ceil(request.policy.completions * tokens * whole_steps)


async def _tokens_per_character(scorer: Scorer, examples: Path) -> float:
    with examples.open(encoding="utf-8") as file:
        sample = [json.loads(line) for line in islice(file, _SAMPLE_ROWS)]
    texts: Sequence[str] = [str(row[name]) for row in sample for name in _TEXTS if row.get(name)]
    return sum(await scorer.count_tokens(texts)) / sum(map(len, texts))


async def _measured(store: ProjectStore, base: str, request: TrainingRequest) -> _Measured | None:
    """The project's latest training of this base by this method and kind."""
    async with store.project_unit() as unit:
        for training in await unit.trainings.page(limit=_RECENT_TRAININGS, before=None, status=JobStatus.SUCCEEDED):
            config = training.config
            if (training.base, config.get("method"), config.get("kind")) == (base, request.method, request.kind):
                found = (await unit.trainings.report(training.id)).report["training"]
                memory = found["peak_memory"]["gpu_bytes"] or found["peak_memory"]["bytes"]
                return _Measured(training.id, found["tokens_per_second"], memory)
    return None
