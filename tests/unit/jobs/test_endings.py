"""Labels whose tokens merge with the end of a prompt are reported before a job is made."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from service.errors import BackendRefused, BackendUnavailable, InvalidDataset, LabelUnreachable
from service.jobs.checks.endings import check_endings
from service.jobs.checks.rows import FaultLog
from service.jobs.checks.survey import MAX_ENDINGS
from service.jobs.submission.estimate import estimate
from service.ports.scoring import Scorer
from service.scoring.calls.executor import CallExecutor
from service.scoring.prompts import PromptScorer
from service.scoring.registry import ConfiguredScorers
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from tests.support.sources import CountingScorer, config, source, survey
from tests.unit.scoring.toy_wire import ToyWire

MERGED = ToyWire(merges=[": False", "?! True"])


async def faults_behind(
    template: str, *texts: str, scorer: Scorer | None = None
) -> list[tuple[int | None, str | None]]:
    task, rows = config(template).task, [{"q": text} for text in texts]
    faults = FaultLog(100)
    await check_endings(
        scorer or PromptScorer("default", MERGED, CallExecutor(concurrency=4)),
        source(*rows),
        task,
        survey(task, *rows),
        faults,
    )
    return [(fault.line, fault.field) for fault in faults.reported]


@pytest.mark.parametrize("texts", [("a",), ("a", "b", "c."), ("a ", "b:")])
async def test_an_end_of_the_template_that_merges_with_a_label_is_its_fault(texts: Sequence[str]) -> None:
    assert await faults_behind("{q} claim:", *texts) == [(None, "task.template")]


async def test_rows_whose_end_merges_with_a_label_are_reported_line_by_line() -> None:
    assert await faults_behind("{q}", "a", "b:", "c.", "d?! ", "e: ") == [(2, None), (4, None), (5, None)]


async def test_there_is_no_warning_after_letters_digits_and_other_marks() -> None:
    assert await faults_behind("{q}", "a", "b.", "c?", "d7") == []


class Refusing(CountingScorer):
    """A scorer that fails after a colon, and counts its requests."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self.prompts: list[str] = []
        self._failure = failure

    async def score(self, tree: PromptTree, labels: Sequence[str], **options: Any) -> TreeScores:
        asked = [prompt for _, prompt in tree.prompts()]
        self.prompts += asked
        if any(prompt.endswith(":") for prompt in asked):
            raise self._failure
        return await super().score(tree, labels, **options)


async def test_an_estimate_refuses_such_rows_with_the_backends_reason() -> None:
    scorers = ConfiguredScorers({"default": Refusing(BackendRefused("the label 'False' merges"))})
    with pytest.raises(InvalidDataset) as caught:
        await estimate(config("{q}"), source({"q": "a"}, {"q": "b:"}), scorers)
    [fault] = caught.value.faults
    assert (fault.line, fault.message) == (2, "behind the end of the row, the label 'False' merges")


@pytest.mark.parametrize("failure", [BackendUnavailable("busy"), LabelUnreachable("of one prompt"), TimeoutError()])
async def test_a_backend_that_does_not_answer_keeps_no_job_from_being_made(failure: Exception) -> None:
    assert await faults_behind("{q}", "a", "b:", scorer=Refusing(failure)) == []


async def test_a_backend_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(CountingScorer):
        async def score(self, *_: object, **__: object) -> TreeScores:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr("service.jobs.checks.endings.TRIAL_SECONDS", 0.01)
    assert await faults_behind("{q}", "a.", scorer=Slow()) == []


async def test_a_template_that_ends_with_a_word_costs_no_prompt_and_others_one_for_each_of_a_few_endings() -> None:
    scorer = Refusing(AssertionError())
    assert await faults_behind("{q} is", "a", "b:", scorer=scorer) == []
    assert scorer.prompts == []
    marks = [f"{n}{'.' * (n % 3)}" for n in range(99)]
    assert await faults_behind("{q}", *marks, scorer=scorer) == []
    assert len(scorer.prompts) == 2
    different = [f"x{n:b}".replace("0", "-").replace("1", "+") for n in range(2 * MAX_ENDINGS)]
    assert await faults_behind("{q}", *different, scorer=scorer) == []
    assert len(scorer.prompts) == 2 + 64
