"""Commands that send a data set: label it, or say what that would cost."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from icm.client import Client
from icm.commands.failures import JobEndedBadly
from icm.commands.jobs import check_output
from icm.commands.options import ApiKey, Config, Data, Json, check_model, read_config
from icm.commands.output import (
    count,
    known_lines,
    on_stderr,
    on_stdout,
    summary_of,
    write_json,
    write_line,
    write_warnings,
)
from icm.commands.progress import shown_progress
from icm.documents import Job
from icm.private import PrivateService

OptionalUrl = Annotated[
    str | None, typer.Option("--url", envvar="ICM_URL", help="The service; without it a private one runs meanwhile.")
]
LanguageModel = Annotated[
    str | None,
    typer.Option("--model", help="Folder, GGUF file or hub name of the language model for the private service."),
]
Workers = Annotated[int, typer.Option(min=1, help="Workers of the private service.")]


def label(
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="Ends in .jsonl, .csv or .parquet.")],
    config: Config,
    *,
    url: OptionalUrl = None,
    model: LanguageModel = None,
    workers: Workers = 1,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Label a data set and download it."""
    check_output(output)
    content = read_config(config, name=data.stem)
    with connected(url, model, workers, api_key=api_key, quiet=as_json) as client:
        job = client.create_job(data, content)
        if not as_json:
            write_warnings(job.warnings)
        job = _follow(client, job, hint=url is not None and not as_json, as_json=as_json)
        if job.status != "succeeded":
            raise JobEndedBadly(job)
        client.result(job.id, to=output)
        report = client.report(job.id)
    if as_json:
        write_json({"job": job.document, "output": str(output), "report": report})
        return
    console = on_stdout()
    for line in (f"{output}: {job.progress.labeled} of {job.progress.rows} rows labelled", *summary_of(report)):
        write_line(console, line)


def estimate(
    data: Data,
    config: Config,
    *,
    url: OptionalUrl = None,
    model: LanguageModel = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Say what labelling a data set would cost, and show a prompt; nothing is stored."""
    content = read_config(config, name=data.stem)
    with connected(url, model, 1, api_key=api_key, quiet=as_json) as client:
        found = client.estimate(data, content)
    if as_json:
        write_json(found)
        return
    console = on_stdout()
    for line in _estimate_lines(found):
        write_line(console, line)


@contextmanager
def connected(
    url: str | None, language_model: str | None, workers: int, *, api_key: str | None, quiet: bool
) -> Iterator[Client]:
    """A client of the service, or of a private one, which asks for no key, for as long as it is needed."""
    if url is not None:
        if language_model is not None:
            raise typer.BadParameter("goes with a private service; with --url name a backend in the configuration")
        with Client(url, api_key=api_key) as client:
            yield client
        return
    check_model(language_model)
    if not quiet:
        on_stderr().print("starting a private service ...", style="dim")
    with PrivateService(language_model=language_model, workers=workers) as private_url, Client(private_url) as client:
        yield client


def _follow(client: Client, job: Job, *, hint: bool, as_json: bool) -> Job:
    try:
        if as_json:
            return client.wait(job.id)
        with shown_progress(as_json=False) as show:
            return client.wait(job.id, on_change=show)
    except KeyboardInterrupt:
        if hint:
            write_line(on_stderr(), f"the job goes on: icm watch {job.id}, icm cancel {job.id}")
        raise


def _estimate_lines(found: dict[str, Any]) -> list[str]:
    sent, computed = count(found["tokens_sent"]), count(found["tokens_computed"])
    lines = [
        f"{found['rows']} rows in {found['shards']} shards, {found['groups']} groups of related rows",
        f"about {count(found['prompts'])} prompts, {sent} tokens sent, {computed} computed",
        *known_lines(found.get("known") or {}),  # a service of an earlier release tells nothing of known rows
        *(f"warning: {warning}" for warning in found["warnings"]),
        "a prompt:",
    ]
    return lines + [f"    {line}" for line in found["sample_prompt"].split("\n")]
