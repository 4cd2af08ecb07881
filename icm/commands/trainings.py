"""Commands about trainings: train on labels, list trainings, download what was trained."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from icm.client import Client
from icm.commands.failures import JobEndedBadly
from icm.commands.jobs import check_folder
from icm.commands.options import ApiKey, Json, Url
from icm.commands.output import on_stderr, on_stdout, plain_table, write_json, write_line, write_warnings
from icm.commands.progress import done, shown_progress
from icm.documents import Training
from icm.requests import DEFAULT_URL

Jobs = Annotated[list[str], typer.Argument(metavar="JOB...", help="Finished jobs whose labels are learned.")]
TrainingId = Annotated[str, typer.Argument(metavar="ID", help="The training.")]


class TrainedKind(StrEnum):
    """What the trained language model is for."""

    LABEL = "label"
    REWARD = "reward"


def train(  # noqa: PLR0913 - each is an option that people give
    job: Jobs,
    *,
    kind: Annotated[TrainedKind, typer.Option(help="Say labels, or tell the better of two texts.")] = TrainedKind.LABEL,
    base: Annotated[str | None, typer.Option(help="The language model to start from; default: the jobs' own.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="How often every row is read.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Of LoRA.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At the first step.")] = None,
    min_confidence: Annotated[float | None, typer.Option(help="Leave rows out whose label is less sure.")] = None,
    control: Annotated[
        list[str] | None, typer.Option(help="A further training to compare with; may be given again.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Also where a report says do_not_use.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Train a language model on the labels of finished jobs; print its id."""
    given: dict[str, Any] = {"base": base, "epochs": epochs, "rank": rank, "learning_rate": learning_rate}
    settings = {name: value for name, value in given.items() if value is not None}
    settings |= {"kind": kind.value, "seed": seed, "force": force, "controls": control or []}
    if min_confidence is not None:
        settings["rows"] = {"min_confidence": min_confidence}
    with Client(url, api_key=api_key) as client:
        training = client.train(*job, **settings)
        if not as_json:
            write_warnings(training.warnings)
        if wait:
            training = _followed(client, training, as_json=as_json)
    _tell(training, as_json=as_json)


def trainings(
    *,
    status: Annotated[str | None, typer.Option(help="Only trainings of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 20,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List trainings, newest first; --json prints one line for each."""
    table = plain_table("id", "status", "rows", "steps", "created")
    with Client(url, api_key=api_key) as client:
        for _, training in zip(range(limit), client.trainings.list(status=status), strict=False):
            if as_json:
                write_json(training.document)
            step, steps, _ = done(training)
            created = f"{training.created_at:%Y-%m-%d %H:%M:%S}"
            table.add_row(training.id, training.status, str(training.rows), f"{step}/{steps}", created)
    if not as_json:
        on_stdout().print(table)


def adapters(
    training_id: TrainingId,
    output: Annotated[Path, typer.Option("--output", "-o", help="A folder that is not there yet.")],
    *,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Download the files of a finished training into a new folder."""
    check_folder(output, "--output")
    with Client(url, api_key=api_key) as client:
        client.trainings.adapter(training_id, to=output)
    if as_json:
        write_json({"output": str(output)})


def _followed(client: Client, training: Training, *, as_json: bool) -> Training:
    """The training once it has ended well. Raises JobEndedBadly."""
    if as_json:
        ended = client.trainings.wait(training.id)
    else:
        with shown_progress(as_json=False) as show:
            ended = client.trainings.wait(training.id, on_change=show)
    if ended.status != "succeeded":
        raise JobEndedBadly(ended)
    return ended


def _tell(training: Training, *, as_json: bool) -> None:
    if as_json:
        write_json(training.document)
        return
    write_line(on_stdout(), training.id)
    write_line(on_stderr(), f"icm adapters {training.id} -o FOLDER downloads what was trained, once it has succeeded")
