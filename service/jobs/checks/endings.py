"""Whether labels can be scored behind every way in which rows end: what the search would only find out on its way."""

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

MOST_ENDINGS = 64  # tried, the most frequent ones
TRIAL_SECONDS = 15.0  # the longest that a request waits for them; without an answer nothing is said of them
_BEFORE = "I think this claim is"  # any words will do: a label's tokens depend on what stands behind the last of them


async def check_endings(scorer: Scorer, source: RowSource, task: Task, survey: Survey, faults: FaultLog) -> None:
    """Note the template, or every row, behind whose end the backend cannot score a label.

    Most tasks have nothing to try: behind a letter or digit the probe has scored the labels. Otherwise it
    costs a prompt of a few tokens for each way to end.
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
        await to_thread.run_sync(lambda: _tell_rows(source, task, refused, faults))


async def _refused(scorer: Scorer, task: Task, endings: Sequence[str]) -> dict[str, str]:
    """Why labels cannot be scored behind these endings: all at once first, one by one where that is refused."""
    if not endings or await _refusal(scorer, task, endings) is None:
        return {}
    found = {text: await _refusal(scorer, task, [text]) for text in endings}
    return {text: reason for text, reason in found.items() if reason is not None}


async def _refusal(scorer: Scorer, task: Task, endings: Sequence[str]) -> str | None:
    """Why the labels cannot be scored behind these endings. Raises BackendUnavailable."""
    queries = tuple(Query(Row(number), _BEFORE + text) for number, text in enumerate(endings))
    try:
        await scorer.score(
            PromptTree("", queries), task.labels, all_spellings=task.all_spellings, separator=task.separator
        )
    except LabelUnreachable:
        return None  # a matter of the one prompt, not of how prompts end
    except BackendRefused as refusal:
        return str(refusal)
    return None


def _tell_rows(source: RowSource, task: Task, refused: dict[str, str], faults: FaultLog) -> None:
    template = Template(task.template)
    for row in source.rows(FaultLog(0)):
        end = ending(template.render(row.fields))
        if end in refused:
            faults.add(f"behind the end of the row, {refused[end]}", line=row.line)
