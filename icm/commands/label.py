"""Commands that send a data set: label it, or estimate the cost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from icm.client import Client
from icm.commands.jobs import check_folder, check_other_file, check_output
from icm.commands.options import ApiKey, Config, Data, Failing, Json, check_model, check_verdict, read_config
from icm.commands.output import (
    count,
    counted_briefly,
    known_lines,
    on_stderr,
    on_stdout,
    summary_of,
    write_json,
    write_line,
    write_warnings,
)
from icm.commands.progress import followed
from icm.documents import Job
from icm.local_stack.nearby import service_answers
from icm.local_stack.temporary_service import PrivateService
from icm.requests import DEFAULT_URL
from service.result_formats import ENDINGS
from service.values import counted

OptionalUrl = Annotated[
    str | None,
    typer.Option("--url", envvar="ICM_URL", help="URL of the service. Without it the command starts a private one."),
]
LanguageModel = Annotated[
    str | None,
    typer.Option("--model", help="Language model of the private service: a folder, GGUF file or hub name."),
]
# That service may belong to somebody else, it keeps the rows, and it may hold another language model.
_PASSED_BY = (
    f"a service answers at {DEFAULT_URL}, and this command does not use it: that service keeps the rows it receives, "
    f"and its language model may be another one; to use it, add --url {DEFAULT_URL}"
)
# It labels the rows of other data sets no better than chance, and nothing else says so before the verdict.
_SMALL_MODEL = (
    "the language model is the small one of this repository, which knows the claims of examples/demo.jsonl and little "
    "else; for rows of your own name a pretrained one: --model with a hub name, a folder or a GGUF file"
)
Workers = Annotated[int, typer.Option(min=1, help="Worker processes of the private service.")]


Page = Annotated[Path | None, typer.Option("--report", help="Also save the report here as one HTML page with plots.")]


def label(  # noqa: PLR0913 - each is an option that people give
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help=f"File for the result; its name ends in {ENDINGS}.")],
    config: Config,
    *,
    page: Page = None,
    fail_on: Failing = None,
    url: OptionalUrl = None,
    model: LanguageModel = None,
    workers: Workers = 1,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Label a data set and download it."""
    check_output(output, data)
    if page is not None:
        check_folder(page, "--report")
        check_other_file(page, {"the data set": data, "the result": output, "the configuration": config}, "--report")
    content = read_config(config, name=data.stem)
    with connected(url, model, workers, api_key=api_key, quiet=as_json) as client:
        job = client.create_job(data, content)
        if not as_json:
            write_warnings(job.warnings)
        job = _follow(client, job, hint=url is not None and not as_json, as_json=as_json)
        client.result(job.id, to=output)
        report = client.report(job.id)
        if page is not None:
            client.report_html(job.id, to=page)
    if as_json:
        write_json({"job": job.document, "output": str(output), "report": report})
    else:
        for line in (
            f"{output}: {job.progress.labeled} of {counted(job.progress.rows, 'row')} labelled",
            *summary_of(report),
        ):
            write_line(on_stdout(), line)
    check_verdict(fail_on, report)


def estimate(
    data: Data,
    config: Config,
    *,
    url: OptionalUrl = None,
    model: LanguageModel = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Estimate the cost of labelling a data set and show a prompt; store nothing."""
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
    """Yield a client of the service at `url`, or of a private service, which needs no key and ends with the context."""
    if url is not None:
        if language_model is not None:
            raise typer.BadParameter(
                "works only with a private service; with --url name a backend in the configuration"
            )
        with Client(url, api_key=api_key) as client:
            yield client
        return
    check_model(language_model)
    tell = (lambda _line: None) if quiet else _tell
    if not quiet and language_model is None and service_answers(DEFAULT_URL):
        tell(_PASSED_BY)
    started = time.monotonic()
    tell("starting a private service ...")
    if language_model is None:
        tell(f"  {_SMALL_MODEL}")
    service = PrivateService(
        language_model=language_model, workers=workers, tell_stage=lambda stage: tell(f"  {stage} ...")
    )
    with service as private_url, Client(private_url) as client:
        tell(f"  ready after {time.monotonic() - started:.1f} s")
        yield client


def _tell(line: str) -> None:
    write_line(on_stderr(), line, style="dim")


def _follow(client: Client, job: Job, *, hint: bool, as_json: bool) -> Job:
    try:
        return followed(client.wait, job.id, quiet=as_json)
    except KeyboardInterrupt:
        if hint:
            write_line(on_stderr(), f"the job continues: icm watch {job.id}, icm cancel {job.id}")
        raise


def _estimate_lines(found: dict[str, Any]) -> list[str]:
    sent, computed = counted_briefly(found["tokens_sent"], "token"), count(found["tokens_computed"])
    rows, groups = counted(found["rows"], "row"), counted(found["groups"], "group")
    lines = [
        f"{rows} in {counted(found['shards'], 'shard')}, {groups} of related rows",
        f"about {counted_briefly(found['prompts'], 'prompt')}, {sent} sent, {computed} computed",
        *_bound_lines(found),
        *_training_lines(found),
        *known_lines(found.get("known") or {}),  # a service of an earlier release reports no known rows
        *(f"warning: {warning}" for warning in found["warnings"]),
        "a prompt (its label is an example unless you gave it, since the search has found none yet):",
    ]
    return lines + [f"    {line}" for line in found["sample_prompt"].split("\n")]


def _bound_lines(found: dict[str, Any]) -> list[str]:
    """What the job costs at most; a service of an earlier release reports no bound."""
    most = found.get("at_most")
    if not most:
        return []
    prompts, sent = counted_briefly(most["prompts"], "prompt"), counted_briefly(most["tokens_sent"], "token")
    return [f"at most about {prompts}, {sent} sent, {count(most['tokens_computed'])} computed"]


def _training_lines(found: dict[str, Any]) -> list[str]:
    """The cost of trainings; a service of an earlier release reports none."""
    if not found.get("trainings"):
        return []
    trainings, trained = counted_briefly(found["trainings"], "training"), count(found["tokens_trained"])
    return [f"about {trainings}, {trained} of these tokens trained on"]
