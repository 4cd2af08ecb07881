"""Commands about a service's jobs: list, show, watch, download, report, pause, resume, cancel, delete."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from icm.calls.call import Document
from icm.client import Client
from icm.commands.failures import JobEndedBadly, NotConfirmed
from icm.commands.options import ApiKey, Failing, JobId, Json, Url, check_verdict
from icm.commands.output import on_stdout, plain_table, summary_of, write_json, write_line
from icm.commands.progress import figures, shown_progress
from icm.data.files import result_format_of
from icm.documents import Job
from icm.requests import DEFAULT_URL
from service.result_formats import ENDINGS, ResultFormat, in_words
from service.terminal import visible_line
from service.values import counted


def jobs(
    *,
    status: Annotated[str | None, typer.Option(help="List only jobs of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs.")] = 20,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first; --json prints one line for each."""
    table = plain_table("id", "name", "status", "rows", "labelled", "created")
    with Client(url, api_key=api_key) as client:
        for _, job in zip(range(limit), client.jobs(status=status), strict=False):
            if as_json:
                write_json(job.document)
            cells = (job.progress.rows, job.progress.labeled, f"{job.created_at:%Y-%m-%d %H:%M:%S}")
            table.add_row(job.id, job.name, job.status, *map(str, cells))
    if not as_json:
        on_stdout().print(table)


def show(job_id: JobId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show the present state of a job."""
    with Client(url, api_key=api_key) as client:
        job = client.job(job_id)
    if as_json:
        write_json(job.document)
        return
    for line in _described(job):
        write_line(on_stdout(), line)


def watch(job_id: JobId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Follow a job to its end; --json prints a line for every change."""
    with Client(url, api_key=api_key) as client, shown_progress(as_json=as_json) as show:
        job = client.wait(job_id, on_change=show)
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
    if formula_safe and not result_format_of(output).for_spreadsheets:
        endings = in_words(form.suffix for form in ResultFormat if form.for_spreadsheets)
        raise typer.BadParameter(f"works only with an --output that ends in {endings}", param_hint="--formula-safe")
    with Client(url, api_key=api_key) as client:
        client.result(job_id, to=output, partial=partial, formula_safe=formula_safe, raw_probability=raw_probability)
    if as_json:
        write_json({"output": str(output)})


def report(
    job_id: JobId,
    *,
    html: Annotated[Path | None, typer.Option(help="Also save the report here as one HTML page with plots.")] = None,
    fail_on: Failing = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Show how far you can trust a job's labels."""
    if html is not None:
        check_folder(html, "--html")
    with Client(url, api_key=api_key) as client:
        document = client.report(job_id)
        if html is not None:
            client.report_html(job_id, to=html)
    if as_json:
        write_json(document)
    else:
        _show_report(document)
    check_verdict(fail_on, document)


def _show_report(document: Document) -> None:
    warnings = (f"warning: {warning}" for warning in document.get("warnings") or ())  # of an earlier release: none
    for line in (*warnings, *summary_of(document)):
        write_line(on_stdout(), line)


def pause(job_id: JobId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Pause a job until somebody resumes it; workers save their current steps."""
    with Client(url, api_key=api_key) as client:
        _show(client.pause(job_id), as_json=as_json)


def resume(job_id: JobId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Resume a paused job from its last checkpoints."""
    with Client(url, api_key=api_key) as client:
        _show(client.resume(job_id), as_json=as_json)


def cancel(job_id: JobId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Cancel a job; it keeps its labels so far."""
    with Client(url, api_key=api_key) as client:
        _show(client.cancel(job_id), as_json=as_json)


def delete(
    job_id: JobId,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Delete a finished job with its rows, labels and report, for good."""
    if not yes:
        _ask_before_deleting(job_id, may_ask=not as_json and a_person_is_there())
    with Client(url, api_key=api_key) as client:
        client.delete(job_id)
    if as_json:
        write_json({"id": job_id, "deleted": True})
        return
    write_line(on_stdout(), f"{job_id} deleted")


def a_person_is_there() -> bool:
    """Whether a person can answer a question."""
    return sys.stdin.isatty()


def _ask_before_deleting(job_id: str, *, may_ask: bool) -> None:
    """Ask a person for confirmation. Raises BadParameter if there is nobody to ask, and NotConfirmed."""
    if not may_ask:
        raise typer.BadParameter(
            "needed because nobody can answer a question here: the command deletes rows and labels for good",
            param_hint="--yes",
        )
    if not typer.confirm(f"Delete {visible_line(job_id)} with its rows, labels and report, for good?", err=True):
        raise NotConfirmed("the job was not deleted")


def _described(job: Job) -> Iterator[str]:
    """The lines of `icm show`."""
    yield f"{job.id}  {job.name}"
    yield f"status: {job.status}"
    yield f"rows: {job.progress.labeled} of {job.progress.rows} labelled"
    for name, moment in (("created", job.created_at), ("started", job.started_at), ("finished", job.finished_at)):
        if moment is not None:
            yield f"{name}: {moment:%Y-%m-%d %H:%M:%S %Z}"
    if (model := (job.document.get("config") or {}).get("model")) is not None:
        yield f"model: {model}"
    if shown_figures := figures(job):
        yield f"progress: {shown_figures}"
    if job.status != "paused" and (job.error or {}).get("message"):
        yield f"error: {(job.error or {})['message']}"
    yield from (f"warning: {warning}" for warning in job.warnings)


def _show(job: Job, *, as_json: bool) -> None:
    """Print one line about a job, or its JSON document."""
    if as_json:
        write_json(job.document)
        return
    text = f"{job.id} {job.status}  {job.progress.labeled}/{counted(job.progress.rows, 'row')}  {figures(job)}"
    write_line(on_stdout(), text.rstrip())


def check_output(path: Path, data: Path | None = None) -> None:
    """Refuse an unusable output file before the job costs anything; also `data`, which would be written over."""
    try:
        result_format_of(path)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from error
    check_folder(path, "--output")
    if data is not None:
        check_not_input(path, data)


def check_not_input(path: Path, data: Path) -> None:
    """Refuse to write the result over the data set."""
    if path.exists() and path.samefile(data):
        raise typer.BadParameter(f"{path} is the data set itself; give the result another name", param_hint="--output")


def check_folder(path: Path, option: str) -> None:
    """Refuse a file whose folder does not exist."""
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"{path.parent}: no such folder", param_hint=option)
