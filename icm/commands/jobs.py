"""Commands about a service's jobs: list, show, watch, download, report, pause, resume, cancel, delete.

Those that make sense for trainings take the id of one as well.
"""

import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from icm.calls.call import Document
from icm.client import Client
from icm.commands.failures import JobEndedBadly, NotConfirmed
from icm.commands.options import ApiKey, Failing, JobId, Json, Url, check_verdict
from icm.commands.output import (
    count,
    lineage,
    measured,
    on_stdout,
    plain_table,
    summary_of,
    write_json,
    write_line,
    write_warnings,
)
from icm.commands.progress import done, figures, shown_progress
from icm.data.files import result_format_of
from icm.documents import Job, Training
from icm.requests import DEFAULT_URL
from icm.trainings import Trainings
from service.result_formats import ENDINGS, ResultFormat, in_words
from service.terminal import visible_line
from service.values import counted

AnyId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job or the training.")]


def jobs(
    *,
    status: Annotated[str | None, typer.Option(help="List only jobs of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs.")] = 20,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first; --json prints one line for each."""
    unreadable: list[str] = []
    table = plain_table("id", "name", "status", "rows", "labelled", "created")
    with Client(url, api_key=api_key) as client:
        for job in islice(client.jobs(status=status), limit):
            if as_json:
                write_json(job.document)
            cells = (job.progress.rows, job.progress.labeled, f"{job.created_at:%Y-%m-%d %H:%M:%S}")
            table.add_row(job.id, job.name, job.status, *map(str, cells))
            unreadable += [f"{job.id}: {why}"] if (why := job.document.get("unreadable")) else []
    if not as_json:
        on_stdout().print(table)
        write_warnings(unreadable)


def show(job_id: AnyId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show the present state of a job or a training."""
    with Client(url, api_key=api_key) as client:
        job = client.trainings.get(job_id) if is_training(job_id) else client.job(job_id)
    if as_json:
        write_json(job.document)
        return
    for line in _described(job):
        write_line(on_stdout(), line)


def watch(job_id: AnyId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Follow a job or a training to its end; --json prints a line for every change."""
    with Client(url, api_key=api_key) as client, shown_progress(as_json=as_json) as show:
        job = _holder(client, job_id).wait(job_id, on_change=show)
    if job.status != "succeeded":
        raise JobEndedBadly(job)


def result(
    job_id: JobId,
    output: Annotated[Path, typer.Option("--output", "-o", help=f"File for the result; its name ends in {ENDINGS}.")],
    *,
    partial: Annotated[bool, typer.Option(help="Accept a cancelled or failed job with its labels so far.")] = False,
    formula_safe: Annotated[
        bool, typer.Option(help="For .csv in a spreadsheet: put an apostrophe before text like =A1.")
    ] = False,
    raw_probability: Annotated[
        bool, typer.Option(help="Add the column icm_raw_probability: the label's probability before calibration.")
    ] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Download a labelled data set."""
    check_output(output)
    if is_training(job_id):
        raise typer.BadParameter(
            f"a training has no labelled rows; icm adapters {job_id} -o FOLDER downloads what was trained",
            param_hint="ID",
        )
    if formula_safe and not result_format_of(output).for_spreadsheets:
        endings = in_words(form.suffix for form in ResultFormat if form.for_spreadsheets)
        raise typer.BadParameter(f"works only with an --output that ends in {endings}", param_hint="--formula-safe")
    with Client(url, api_key=api_key) as client:
        client.result(job_id, to=output, partial=partial, formula_safe=formula_safe, raw_probability=raw_probability)
    if as_json:
        write_json({"output": str(output)})


def report(
    job_id: AnyId,
    *,
    html: Annotated[Path | None, typer.Option(help="Also save the report here as one HTML page with plots.")] = None,
    fail_on: Failing = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Show how far you can trust a job's labels, or what a training learned."""
    if html is not None:
        check_folder(html, "--html")
    if fail_on is not None and is_training(job_id):
        raise typer.BadParameter("the report of a training has no verdict", param_hint="--fail-on")
    with Client(url, api_key=api_key) as client:
        holder = _holder(client, job_id)
        document = holder.report(job_id)
        if html is not None:
            holder.report_html(job_id, to=html)
    if as_json:
        write_json(document)
    else:
        _show_report(document)
    check_verdict(fail_on, document)


def _show_report(document: Document) -> None:
    warnings = (f"warning: {warning}" for warning in document.get("warnings") or ())  # of an earlier release: none
    found = document.get("report")  # of a training
    for line in (*warnings, *(summary_of(document) if found is None else (*lineage(document), *measured(found)))):
        write_line(on_stdout(), line)


def pause(job_id: AnyId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Pause a job or training until somebody resumes it; workers save their current steps."""
    with Client(url, api_key=api_key) as client:
        _show(_holder(client, job_id).pause(job_id), as_json=as_json)


def resume(job_id: AnyId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Resume a paused job or training from its last checkpoints."""
    with Client(url, api_key=api_key) as client:
        _show(_holder(client, job_id).resume(job_id), as_json=as_json)


def cancel(job_id: AnyId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Cancel a job, which keeps its labels so far, or a training."""
    with Client(url, api_key=api_key) as client:
        _show(_holder(client, job_id).cancel(job_id), as_json=as_json)


def delete(
    job_id: AnyId,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Delete a finished job or training with all that belongs to it, for good."""
    if not yes:
        _ask_before_deleting(job_id, may_ask=not as_json and a_person_is_there())
    with Client(url, api_key=api_key) as client:
        _holder(client, job_id).delete(job_id)
    if as_json:
        write_json({"id": job_id, "deleted": True})
        return
    write_line(on_stdout(), f"{job_id} deleted")


def is_training(which: str) -> bool:
    """Whether this is the id of a training rather than of a job."""
    return which.startswith("train_")


def _holder(client: Client, which: str) -> Client | Trainings:
    """The part of the client that has the calls about this job or training."""
    return client.trainings if is_training(which) else client


def _deleted(which: str) -> str:
    return "its files and report" if is_training(which) else "its rows, labels and report"


def a_person_is_there() -> bool:
    """Whether a person can answer a question."""
    return sys.stdin.isatty()


def _ask_before_deleting(job_id: str, *, may_ask: bool) -> None:
    """Ask a person for confirmation. Raises BadParameter if there is nobody to ask, and NotConfirmed."""
    if not may_ask:
        raise typer.BadParameter(
            f"needed because nobody can answer a question here: the command deletes {_deleted(job_id)} for good",
            param_hint="--yes",
        )
    if not typer.confirm(f"Delete {visible_line(job_id)} with {_deleted(job_id)}, for good?", err=True):
        raise NotConfirmed("nothing was deleted")


def _described(job: Job | Training) -> Iterator[str]:
    """The lines of `icm show`."""
    yield from _training_lines(job) if isinstance(job, Training) else _job_lines(job)
    if job.status != "paused" and (job.error or {}).get("message"):
        yield f"error: {(job.error or {})['message']}"
    yield from (f"warning: {warning}" for warning in job.warnings)


def _job_lines(job: Job) -> Iterator[str]:
    yield f"{job.id}  {job.name}"
    yield f"status: {job.status}"
    yield f"rows: {job.progress.labeled} of {job.progress.rows} labelled"
    yield from _moments(job)
    if (model := (job.document.get("config") or {}).get("model")) is not None:
        yield f"model: {model}"
    yield from _progress(job)


def _training_lines(training: Training) -> Iterator[str]:
    yield f"{training.id}  kind {(training.document.get('config') or {}).get('kind')}"
    step, steps, _ = done(training)
    yield f"status: {training.status}, {step} of {steps} steps"
    yield f"rows: {training.rows}"
    yield from _moments(training)
    yield from lineage(training.document)
    yield from _progress(training)
    if artifact := training.document.get("artifact"):
        yield f"trained: {artifact['sha256']}, {count(artifact['bytes'])} bytes"


def _moments(job: Job | Training) -> Iterator[str]:
    started = job.started_at if isinstance(job, Job) else None
    for name, moment in (("created", job.created_at), ("started", started), ("finished", job.finished_at)):
        if moment is not None:
            yield f"{name}: {moment:%Y-%m-%d %H:%M:%S %Z}"


def _progress(job: Job | Training) -> Iterator[str]:
    if shown := figures(job):
        yield f"progress: {shown}"


def _show(job: Job | Training, *, as_json: bool) -> None:
    """Print one line about a job or a training, or its JSON document."""
    if as_json:
        write_json(job.document)
        return
    number, of, what = done(job)
    text = f"{job.id} {job.status}  {number}/{counted(of, what)}  {figures(job)}"
    write_line(on_stdout(), text.rstrip())


def check_output(path: Path, data: Path | None = None) -> None:
    """Refuse an unusable output file before the job costs anything; also `data`, which would be written over."""
    try:
        result_format_of(path)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error
    check_folder(path, "--output")
    if data is not None:
        check_other_file(path, {"the data set itself": data}, "--output")


def check_other_file(path: Path, files: Mapping[str, Path], option: str) -> None:
    """Refuse to write over one of these files, which the message names by their descriptions."""
    for description, file in files.items():
        if path.resolve() == file.resolve() or (path.exists() and file.exists() and path.samefile(file)):
            raise typer.BadParameter(f"{path} is {description}; give another name", param_hint=option)


def format_of_output(path: Path, given: ResultFormat | None) -> ResultFormat:
    """The format of a result: the one that people gave, else by the file's ending. Raises typer.BadParameter."""
    if given is not None:
        return given
    try:
        return result_format_of(path)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, or give --format", param_hint="--output") from error


def check_folder(path: Path, option: str) -> None:
    """Refuse a file whose folder does not exist."""
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"{path.parent}: no such folder", param_hint=option)
