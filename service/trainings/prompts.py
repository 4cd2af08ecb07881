"""Turns jobs' rows into the prompts of a training of kind policy (docs/training.md#policies).

A prompt is the template `policy.prompt` with a row's columns, taken literally. Without it, a prompt is the text that
the job's own template makes of the row, as the service has scored it. Labels do not affect prompts.
"""

import hashlib
from collections.abc import Iterator, Sequence

import orjson

from service.errors import Fault
from service.jobs.task.comparison import comparison_of
from service.jobs.task.template import Template
from service.ports.store import ProjectStore
from service.records.jobs import Job
from service.records.labels import LabeledRow
from service.relations.columns import Fields, names_of
from service.trainings.examples import Example
from service.trainings.request import TrainingRequest
from service.values import by_number, counted, is_blank, nearest

_SHOWN_COLUMNS = 10


class Prompts:
    """Keeps each distinct prompt of all jobs once, so that no held-out prompt is also trained on."""

    def __init__(self, prompt: str | None) -> None:
        self._prompt = prompt
        self._seen: set[bytes] = set()
        self.repeated = 0  # rows whose prompt an earlier row had
        self.blank = 0  # rows without a value in a column that the prompt reads

    def of_job(self, job: Job) -> "JobPrompts":
        """The object that turns this job's rows into prompts."""
        if self._prompt is None:
            return JobPrompts(self, Template(job.config.task.template), is_exact=False)
        return JobPrompts(self, Template(self._prompt), is_exact=True)

    def is_new(self, prompt: str) -> bool:
        """Whether this prompt is new; notes it, and counts it if it is repeated."""
        digest = hashlib.blake2b(prompt.encode(), digest_size=16).digest()
        is_new = digest not in self._seen
        self._seen.add(digest)
        self.repeated += not is_new
        return is_new


class JobPrompts:
    """Turns rows of one job into prompts."""

    def __init__(self, prompts: Prompts, template: Template, *, is_exact: bool) -> None:
        self._prompts, self._template, self._is_exact = prompts, template, is_exact

    def of(self, row: LabeledRow, group: str) -> Example | None:
        """The row's prompt; None if it lacks a value that the prompt reads, or repeats an earlier row's prompt."""
        fields: Fields = orjson.loads(row.data)
        if self._is_exact and any(is_blank(fields.get(name)) for name in self._template.fields):
            self._prompts.blank += 1
            return None
        prompt = self._template.filled(fields) if self._is_exact else self._template.render(fields)
        if not prompt or not self._prompts.is_new(prompt):
            return None
        return {"prompt": prompt, "group": group, "id": row.id}


async def lacking_columns(store: ProjectStore, request: TrainingRequest, jobs: Sequence[Job]) -> list[Fault]:
    """A fault for each column that `policy.prompt` reads and that a job's rows do not have, or that holds gold."""
    prompt = None if request.policy is None else request.policy.prompt
    if prompt is None:
        return []
    faults: list[Fault] = []
    for job in jobs:
        async with store.project_unit() as unit:
            columns, gold_field = await unit.jobs.columns(job.id)
        faults += [Fault(_in_doubled_braces(name), field="policy.prompt") for name in _quoted(prompt, columns)]
        for name in Template(prompt).fields:
            usable = [column for column in columns if column != gold_field]
            if name == gold_field:
                message = (
                    f"the column {name!r} of job {job.id} holds gold, which only reports may read; name another one"
                )
                faults.append(Fault(message, field="policy.prompt"))
            elif name not in columns:
                faults.append(Fault(f"the job {job.id} has no column {_unknown(name, usable)}", field="policy.prompt"))
    return faults


def _quoted(prompt: str, columns: Sequence[str]) -> list[str]:
    return [name for name in Template(prompt).quoted if name in columns]


def _in_doubled_braces(name: str) -> str:
    return f"{{{{{name}}}}} writes braces and reads no column; write {{{name}}}, with single braces"


def _unknown(name: str, columns: Sequence[str]) -> str:
    meant = "".join(f" (did you mean {near!r}?)" for near in nearest(name, columns))
    shown = ", ".join(columns[:_SHOWN_COLUMNS]) + (", ..." if len(columns) > _SHOWN_COLUMNS else "")
    return f"{name!r}{meant}; it has {shown}"


def doubts_of_prompts(request: TrainingRequest, jobs: Sequence[Job], prompts: Prompts) -> Iterator[str]:
    """Warnings about prompts that the user may not have meant."""
    if request.policy is None:
        return
    prompt = request.policy.prompt
    comparing = ((job.id, comparison_of(job.config.task)) for job in jobs)
    job_id, comparison = next(((job_id, found) for job_id, found in comparing if found is not None), ("", None))
    if prompt is None and comparison is not None:
        columns = "".join(f"{{{name}}}\\n" for name in names_of(comparison.group))
        meant = f'; policy.prompt "{columns}" gives the text that kind reward puts before both texts' if columns else ""
        yield f"the prompts are the questions of job {job_id} about two texts, with both texts in them{meant}"
    if prompt is not None and prompt[-1:].isspace() and not prompt.endswith("\n"):
        what = "a space" if prompt.endswith(" ") else f"white space ({prompt[-1]!r})"
        yield f"policy.prompt ends with {what}, behind which few language models begin a word; leave it out"
    if prompts.blank:
        were = by_number(prompts.blank, "was", "were")
        yield f"{counted(prompts.blank, 'row')} {were} left out, since a column that policy.prompt reads is empty there"
    if prompts.repeated:
        were = by_number(prompts.repeated, "was", "were")
        yield f"{counted(prompts.repeated, 'row')} {were} left out, since an earlier row has the same prompt"
