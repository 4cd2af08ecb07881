"""Commands about trainings: train on labels, list trainings, download their files."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from icm.calls.call import Document
from icm.client import Client
from icm.commands.failures import JobEndedBadly
from icm.commands.jobs import check_folder
from icm.commands.options import ApiKey, Json, Url
from icm.commands.output import count, on_stderr, on_stdout, plain_table, write_json, write_line, write_warnings
from icm.commands.progress import done, shown_progress
from icm.documents import Training
from icm.requests import DEFAULT_URL

Jobs = Annotated[list[str], typer.Argument(metavar="JOB...", help="Finished jobs whose labels are learned.")]
TrainingId = Annotated[str, typer.Argument(metavar="ID", help="The training.")]


Reward = Annotated[str | None, typer.Option(help="Of a policy: the finished reward model whose rewards it raises.")]
Judge = Annotated[
    str | None, typer.Option(help="Of a policy: a second reward model, which compares it with the base at the end.")
]
Prompt = Annotated[
    str | None,
    typer.Option(
        help=r"Of a policy: the text to continue; a row's column replaces {column}, and \n is a line break. "
        "Default: the job's template."
    ),
]
Stop = Annotated[str | None, typer.Option(help=r"Of a policy: a text of one token that ends a completion, such as \n.")]
CompletionTokens = Annotated[int | None, typer.Option(min=1, help="Of a policy: tokens of a completion, at most.")]
KlLimit = Annotated[float | None, typer.Option(help="Of a policy: nats of KL divergence for a completion, at most.")]


class TrainedKind(StrEnum):
    """What the trained language model is for."""

    LABEL = "label"
    REWARD = "reward"
    POLICY = "policy"


def train(  # noqa: PLR0913 - each is an option that people give
    job: Jobs,
    *,
    kind: Annotated[
        TrainedKind, typer.Option(help="Say labels, tell the better of two texts, or write texts of high reward.")
    ] = TrainedKind.LABEL,
    base: Annotated[str | None, typer.Option(help="The language model to start from; default: the jobs' own.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="How often every row is read.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Of LoRA.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At the first step.")] = None,
    min_confidence: Annotated[float | None, typer.Option(help="Leave rows out whose label is less sure.")] = None,
    holdout: Annotated[float | None, typer.Option(help="The share of rows to measure with.")] = None,
    control: Annotated[
        list[str] | None, typer.Option(help="A further training to compare with; may be given again.")
    ] = None,
    reward: Reward = None,
    judge: Judge = None,
    prompt: Prompt = None,
    stop: Stop = None,
    completion_tokens: CompletionTokens = None,
    kl_limit: KlLimit = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Also where a report says do_not_use.")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it would cost; train nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Train a language model on finished jobs; print the training's id."""
    settings: dict[str, Any] = {"kind": kind.value, "seed": seed, "force": force, "controls": control or []}
    settings |= _given(base=base, epochs=epochs, rank=rank, learning_rate=learning_rate)
    settings |= _given(rows=_given(min_confidence=min_confidence, holdout=holdout) or None)
    policy = _given(reward=reward, judge=judge, completion_tokens=completion_tokens, kl_limit=kl_limit)
    policy |= _given(prompt=_unescaped(prompt), stop=_unescaped(stop))
    settings |= _given(policy=policy or None)
    with Client(url, api_key=api_key) as client:
        if estimate:
            _tell_estimate(client.trainings.estimate(*job, **settings), as_json=as_json)
            return
        training = client.train(*job, **settings)
        if not as_json:
            write_warnings(training.warnings)
        if wait:
            training = _followed(client, training, as_json=as_json)
    _tell(training, as_json=as_json)


def _given(**values: Any) -> dict[str, Any]:
    """Those that people have given."""
    return {name: value for name, value in values.items() if value is not None}


def _unescaped(text: str | None) -> str | None:
    r"""The text with a line break for `\n` and a tab for `\t`, which shells pass on as they are."""
    written = {r"\n": "\n", r"\t": "\t", "\\\\": "\\"}
    return text and re.sub(r"\\[nt\\]", lambda found: written[found[0]], text)


def _tell_estimate(found: Document, *, as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    write_warnings(found["warnings"])
    lines = [f"base: {found['base']}", f"rows: {found['rows']}, of them held out: {found['held_out']}"]
    lines += [f"tokens: {count(found['tokens'])}"]
    if found["measured_by"] is None:
        lines += ["time and memory: unknown, since no training like it has finished"]
    else:
        seconds = "unknown" if found["seconds"] is None else f"{found['seconds']:.0f} s"
        lines += [f"time: {seconds}", f"memory: {found['memory_bytes'] / 1e6:.0f} MB", f"by: {found['measured_by']}"]
    for line in lines:
        write_line(on_stdout(), line)


def trainings(
    *,
    status: Annotated[str | None, typer.Option(help="Only trainings of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 20,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List trainings, newest first; --json prints one line for each."""
    unreadable: list[str] = []
    table = plain_table("id", "kind", "status", "rows", "steps", "created")
    with Client(url, api_key=api_key) as client:
        for _, training in zip(range(limit), client.trainings.list(status=status), strict=False):
            if as_json:
                write_json(training.document)
            step, steps, _ = done(training)
            created = f"{training.created_at:%Y-%m-%d %H:%M:%S}"
            kind = str((training.document.get("config") or {}).get("kind", ""))
            table.add_row(training.id, kind, training.status, str(training.rows), f"{step}/{steps}", created)
            unreadable += [f"{training.id}: {why}"] if (why := training.document.get("unreadable")) else []
    if not as_json:
        on_stdout().print(table)
        write_warnings(unreadable)


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
