"""Counts the tokens of a new data set's rows, exactly where needed and otherwise by an estimate from a sample."""

import math
from array import array
from collections.abc import Iterator, Sequence

from anyio import to_thread

from service.config import Task
from service.jobs.checks.rows import FaultLog, RowSource, in_chunks
from service.jobs.checks.survey import EXACT_ROWS, Survey
from service.jobs.task.problem import SPECIAL_TOKENS
from service.jobs.task.template import Template, tail_of
from service.ports.scoring import Scorer
from service.values import counted

_BATCH = 256  # texts per call


async def demonstration_tokens(
    scorer: Scorer, source: RowSource, task: Task, survey: Survey, context_tokens: int
) -> Sequence[int]:
    """The tokens of every row's text with the longest label and the separator, at least approximately.

    A text of n bytes has at most n tokens. So in a large data set only rows that might not fit the context are
    counted, and the others are estimated from a sample. These few are read and rendered once more, unless the
    survey could keep all texts. Raises BackendError.
    """
    exact = survey.rows <= EXACT_ROWS
    roomy = context_tokens - SPECIAL_TOKENS
    wanted = {row for row, size in enumerate(survey.demonstration_bytes) if exact or size > roomy}
    tokens = array("I", bytes(4 * survey.rows))
    if not exact:
        tokens = await _estimate(scorer, task, survey)
    if wanted:
        async for batch in in_chunks(_demonstrations(source, task, survey, wanted), _BATCH):
            counts = await scorer.count_tokens([text for _, text in batch])
            for (row, _), count in zip(batch, counts, strict=True):
                tokens[row] = count
    return tokens


async def _estimate(scorer: Scorer, task: Task, survey: Survey) -> "array[int]":
    """Estimate every row's tokens from the sample's tokens per byte."""
    texts = [text + tail_of(task) for text in survey.sample]
    counts = await scorer.count_tokens(texts)
    per_byte = sum(counts) / sum(len(text.encode()) for text in texts)
    sizes = survey.demonstration_bytes
    return await to_thread.run_sync(lambda: array("I", (min(size, math.ceil(size * per_byte)) for size in sizes)))


def _demonstrations(source: RowSource, task: Task, survey: Survey, wanted: set[int]) -> Iterator[tuple[int, str]]:
    tail = tail_of(task)
    if survey.texts is not None:
        yield from ((position, text + tail) for position, text in enumerate(survey.texts) if position in wanted)
        return
    template = Template(task.template)
    for position, row in enumerate(source.rows(FaultLog(0))):
        if position in wanted:
            yield position, template.render(row.fields) + tail


def check_rows_fit(survey: Survey, tokens: Sequence[int], context_tokens: int) -> None:
    """Raise InvalidDataset if any row does not even fit the language model's context alone."""
    faults = FaultLog()
    for line, count in zip(survey.lines, tokens, strict=True):
        if count + SPECIAL_TOKENS > context_tokens:
            faults.add(
                f"the row has {counted(count, 'token')} with label and separator, {SPECIAL_TOKENS} more are reserved, "
                f"and the language model reads {context_tokens} at once",
                line=line,
                cause="the row has too many tokens",
            )
    faults.raise_any()
