"""Warnings about labels that the language model would not generate, and about labels of unequal length."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest

from service.errors import BackendRefused, BackendUnavailable
from service.jobs.checks.label_words import SAMPLE_ROWS
from service.jobs.submission.estimate import estimate
from service.jobs.submission.preparation import prepare
from service.scoring.registry import ConfiguredScorers
from service.search.predictions.prompt_tree import PromptTree, TreeScores, Usage
from tests.support.sources import CountingScorer, config, source

ROWS = [{"q": f"row {number}"} for number in range(3 * SAMPLE_ROWS)]


class Sceptic(CountingScorer):
    """Gives the labels together these shares of the probability, row by row, and records its requests."""

    def __init__(self, *shares: float, failure: Exception | None = None) -> None:
        super().__init__()
        self._shares = shares
        self._failure = failure
        self.prompts_per_row = 1
        self.prompts: list[str] = []
        self.asked: dict[str, Any] = {}

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        if self._failure is not None:
            raise self._failure
        rows = [row for row, _ in tree.prompts()]
        self.prompts += [prompt for _, prompt in tree.prompts()]
        self.asked = {"all_spellings": all_spellings, "separator": separator}
        shares = {row: self._shares[number % len(self._shares)] for number, row in enumerate(rows)}
        scores = {row: (math.log(share / len(labels)),) * len(labels) for row, share in shares.items()}
        return TreeScores(scores, Usage(self.prompts_per_row * len(rows), 0, 0))


async def warnings(scorer: CountingScorer, **task: Any) -> Sequence[str]:
    """Those about labels alone."""
    prepared = await prepare(config(**task), source(*ROWS), ConfiguredScorers({"default": scorer}))
    return prepared.label_warnings


async def test_the_estimate_counts_as_many_prompts_for_each_question_as_the_labels_took() -> None:
    one, several = Sceptic(1.0), Sceptic(1.0)
    several.prompts_per_row = 5
    first, second = [
        await estimate(config(), source(*ROWS[:SAMPLE_ROWS]), ConfiguredScorers({"default": scorer}))
        for scorer in (one, several)
    ]
    assert second.usage.prompts == 5 * first.usage.prompts


@pytest.mark.parametrize("share", [1.0, 0.011])
async def test_labels_that_the_language_model_expects_get_no_warning(share: float) -> None:
    assert await warnings(Sceptic(share)) == ()


async def test_improbable_labels_get_a_warning_with_their_share_and_what_to_do() -> None:
    [warning] = await warnings(Sceptic(0.004))
    assert "0.40%" in warning
    assert "12 rows" in warning
    assert "Let the template end" in warning
    assert "less than 0.01%" in (await warnings(Sceptic(1e-9)))[0]


async def test_a_few_rows_behind_which_a_label_is_likely_make_no_good_template() -> None:
    assert len(await warnings(Sceptic(0.9, 1e-4, 1e-4))) == 1
    assert await warnings(Sceptic(0.9, 0.9, 1e-4)) == ()


async def test_a_dozen_rows_from_all_of_them_are_asked_as_the_job_will_ask() -> None:
    scorer = Sceptic(1.0)
    await warnings(scorer, separator="\n---\n", all_spellings=True)
    assert len(scorer.prompts) == SAMPLE_ROWS
    assert scorer.prompts[0] == "row 0 is"
    assert scorer.prompts[-1] == f"row {len(ROWS) - 3} is"
    assert scorer.asked == {"all_spellings": True, "separator": "\n---\n"}


@pytest.mark.parametrize("failure", [BackendUnavailable("busy"), BackendRefused("no"), TimeoutError()])
async def test_a_backend_that_does_not_answer_keeps_no_job_from_being_made(failure: Exception) -> None:
    assert await warnings(Sceptic(0.0, failure=failure)) == ()


async def test_a_backend_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Sceptic):
        async def score(self, *_: object, **__: object) -> TreeScores:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr("service.jobs.checks.label_words.SAMPLE_SECONDS", 0.01)
    assert await warnings(Slow()) == ()


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["yes", "not sure"], None),
        (["yes", "no way at all"], ("1 ('yes') to 4 ('no way at all') tokens", "about the same length")),
    ],
)
async def test_labels_of_different_length_are_reported(labels: list[str], told: tuple[str, str] | None) -> None:
    found = await warnings(Sceptic(1.0), labels=labels)
    assert len(found) == (told is not None)
    assert all(part in found[0] for part in told or ())
