"""Whether the labels are words that the language model would say where it is asked, and words of like length."""

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

SAMPLE_ROWS = 12
SAMPLE_SECONDS = 15.0  # the longest that a request waits for the sample; without an answer nothing is said of it
# With a language model of 135 million parameters, labels had 2 to 13 % in prompts that lead up to them, 0.5 % where
# other topics fit as well (docs/probe.md).
LEAST_SHARE = 0.01
MOST_TOKENS_APART = 1  # that labels may differ by without a word

_BEFORE = "is"  # any word will do: what a tokenizer puts before a text is not counted


@dataclass(frozen=True, slots=True)
class LabelTrial:
    """What a dozen rows tell of the labels: what is doubtful, and how many prompts one question takes.

    A label of several tokens takes a prompt for each of its beginnings; beginnings that labels share are asked once.
    """

    warnings: tuple[str, ...] = ()
    prompts_per_query: float = 1.0


async def try_labels(scorer: Scorer, task: Task, survey: Survey) -> LabelTrial:
    """Ask for a dozen rows without demonstrations. Raises BackendError."""
    counts = await _token_counts(scorer, task.labels)
    texts = _spread(survey.sample)
    scores = await _scores(scorer, task, texts)
    warnings = (*_of_unlike_length(task.labels, counts), *_improbable(_share(scores), texts))
    prompts = 0 if scores is None else scores.usage.prompts
    return LabelTrial(warnings, max(1.0, prompts / len(texts)))


async def _token_counts(scorer: Scorer, labels: Sequence[str]) -> list[int]:
    """How many tokens each label adds to a text."""
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
    """A dozen of the texts, evenly."""
    return texts[:: math.ceil(len(texts) / SAMPLE_ROWS)]


async def _scores(scorer: Scorer, task: Task, texts: Sequence[str]) -> TreeScores | None:
    """What the labels get behind each text. None where the backend does not say."""
    tree = PromptTree("", tuple(Query(Row(number), text) for number, text in enumerate(texts)))
    try:
        async with asyncio.timeout(SAMPLE_SECONDS):
            return await scorer.score(tree, task.labels, all_spellings=task.all_spellings, separator=task.separator)
    except (BackendError, TimeoutError):
        return None  # the job is not kept from running by a dozen prompts that it may never ask


def _share(scores: TreeScores | None) -> float | None:
    """The probability of all labels together: the median over the rows."""
    return (
        None if scores is None else median(sum(map(math.exp, values)) for values in scores.log_probabilities.values())
    )


def _improbable(share: float | None, texts: Sequence[str]) -> Iterator[str]:
    if share is None or share >= LEAST_SHARE:
        return
    told = f"{share:.2%}" if share >= 0.0001 else "less than 0.01%"
    yield (
        f"where it is asked for the label of a row, the language model gives all labels together {told} of the "
        f"probability (the median of {len(texts)} rows, without demonstrations), so that labels are chosen by what "
        "it hardly ever says; usual causes are a template that does not lead up to the label, and words, or capitals, "
        "that the language model would not write there: let the template end as the text before such a label would, "
        "and take the words that would follow"
    )
