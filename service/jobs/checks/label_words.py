"""Warns about labels that the language model would hardly say after the rows, or that differ in length."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from service.config import Task
from service.errors import BackendError
from service.identifiers import Row
from service.jobs.checks.survey import Survey
from service.ports.scoring import Scorer
from service.search.predictions.prompt_tree import PromptTree, Query, TreeScores
from service.values import counted

SAMPLE_ROWS = 12
SAMPLE_SECONDS = 15.0  # longest wait of a request for the sample; if it expires, there is no warning
# With a language model of 135 million parameters, labels had 2 to 13 % of the probability in prompts that lead up
# to them, and 0.5 % in prompts that other topics fit as well (docs/probe.md).
LEAST_SHARE = 0.01
MOST_TOKENS_APART = 1  # difference in length that needs no warning

_BEFORE = "is"  # any word will do: only the difference in tokens counts


@dataclass(frozen=True, slots=True)
class LabelTrial:
    """The result of scoring the labels of a dozen rows: warnings, and the number of prompts per query.

    A label of several tokens needs a prompt for each of its prefixes; labels share the prompts of common prefixes.
    """

    warnings: tuple[str, ...] = ()
    prompts_per_query: float = 1.0
    is_sure: bool = True  # whether the labels have more than LEAST_SHARE of the probability


async def try_labels(scorer: Scorer, task: Task, survey: Survey) -> LabelTrial:
    """Score a dozen rows without demonstrations. Raises BackendError."""
    counts = await _token_counts(scorer, task.labels)
    texts = _spread(survey.sample)
    scores = await _scores(scorer, task, texts)
    unlike = tuple(_of_unlike_length(task.labels, counts))
    if scores is None:
        return LabelTrial(unlike)
    share = median(sum(map(math.exp, values)) for values in scores.log_probabilities.values())
    is_sure = share >= LEAST_SHARE
    warnings = unlike if is_sure else (*unlike, _improbable(share, len(texts)))
    return LabelTrial(warnings, max(1.0, scores.usage.prompts / len(texts)), is_sure)


async def _token_counts(scorer: Scorer, labels: Sequence[str]) -> list[int]:
    """The number of tokens that each label adds to a text."""
    before, *counts = await scorer.count_tokens([_BEFORE, *(f"{_BEFORE} {label}" for label in labels)])
    return [count - before for count in counts]


def _of_unlike_length(labels: Sequence[str], counts: Sequence[int]) -> Iterator[str]:
    if max(counts) - min(counts) <= MOST_TOKENS_APART:
        return
    shortest, longest = labels[counts.index(min(counts))], labels[counts.index(max(counts))]
    yield (
        f"the labels have {min(counts)} ({shortest!r}) to {max(counts)} ({longest!r}) tokens, and every further token "
        "costs a label probability, so that the short ones are favoured: take labels of about the same length, or "
        "look in the report whether the short ones have more rows than you expect"
    )


def _spread(texts: Sequence[str]) -> Sequence[str]:
    """About a dozen of the texts, evenly spread."""
    return texts[:: math.ceil(len(texts) / SAMPLE_ROWS)]


async def _scores(scorer: Scorer, task: Task, texts: Sequence[str]) -> TreeScores | None:
    """The scores of the labels behind each text; None if the backend fails or is too slow."""
    tree = PromptTree("", tuple(Query(Row(number), text) for number, text in enumerate(texts)))
    try:
        async with asyncio.timeout(SAMPLE_SECONDS):
            return await scorer.score(tree, task.labels, all_spellings=task.all_spellings, separator=task.separator)
    except (BackendError, TimeoutError):
        return None  # the job may never need these prompts, so their failure does not keep it from running


def _improbable(share: float, rows: int) -> str:
    """The warning about labels that together have this share of the probability, the median over some rows."""
    shown = f"{share:.2%}" if share >= 0.0001 else "less than 0.01%"
    return (
        "where a label should follow, the language model expects other words: it gives all labels together "
        f"{shown} of the probability (median of {counted(rows, 'row')}, without demonstrations). Usual causes: "
        "the template does not lead up to the label; the language model would not write these words or capitals "
        "there; it does not know the language or the subject of the rows. Let the template end as a text before "
        "such a label would, take the words that would follow, or choose another language model"
    )
