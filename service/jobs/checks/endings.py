"""Tries before a job starts whether the backend can score the labels behind every ending that the rows' texts have."""

import asyncio
from collections.abc import Sequence

from anyio import to_thread

from service.config import Task
from service.errors import BackendError, BackendRefused, LabelUnreachable
from service.identifiers import Row
from service.jobs.checks.rows import FaultLog, RowSource
from service.jobs.checks.survey import Survey
from service.jobs.task.template import Template
from service.ports.scoring import Scorer
from service.search.predictions.prompt_tree import PromptTree, Query, ending

MOST_ENDINGS = 64  # number of endings to try, the most frequent first
TRIAL_SECONDS = 15.0  # longest wait of a request; if it expires, the check reports nothing
_BEFORE = "I think this claim is"  # any words will do: a label's tokens only depend on the characters behind them


async def check_endings(scorer: Scorer, source: RowSource, task: Task, survey: Survey, faults: FaultLog) -> None:
    """Report the template, or each row, behind whose ending the backend cannot score a label.

    Most tasks need no trial, since the probe has scored the labels behind a letter. Otherwise the check costs a
    prompt of a few tokens for each ending.
    """
    endings = sorted(survey.endings, key=lambda text: -survey.endings[text])[:MOST_ENDINGS]
    refused: dict[str, str] = {}
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            refused = await _refused(scorer, task, [text for text in endings if text])
    except (BackendError, TimeoutError):
        return
    if refused.keys() == survey.endings.keys():
        faults.add(f"behind the end of the template, {next(iter(refused.values()))}", field="task.template")
    elif refused:
        await to_thread.run_sync(lambda: _report_rows(source, task, refused, faults))


async def _refused(scorer: Scorer, task: Task, endings: Sequence[str]) -> dict[str, str]:
    """The refusals by ending; tries all endings together first, and one by one only if that is refused."""
    if not endings or await _refusal(scorer, task, endings) is None:
        return {}
    found = {text: await _refusal(scorer, task, [text]) for text in endings}
    return {text: reason for text, reason in found.items() if reason is not None}


async def _refusal(scorer: Scorer, task: Task, endings: Sequence[str]) -> str | None:
    """The backend's reason to refuse these endings; None if it scores them. Raises BackendUnavailable."""
    queries = tuple(Query(Row(number), _BEFORE + text) for number, text in enumerate(endings))
    try:
        await scorer.score(
            PromptTree("", queries), task.labels, all_spellings=task.all_spellings, separator=task.separator
        )
    except LabelUnreachable:
        return None  # depends on the single prompt, not on its ending
    except BackendRefused as refusal:
        return str(refusal)
    return None


def _report_rows(source: RowSource, task: Task, refused: dict[str, str], faults: FaultLog) -> None:
    template = Template(task.template)
    for row in source.rows(FaultLog(0)):
        end = ending(template.render(row.fields))
        if end in refused:
            faults.add(f"behind the end of the row, {refused[end]}", line=row.line)
