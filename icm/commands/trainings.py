"""Commands about trainings: train on labels, list trainings, download their files."""

import re
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from icm.calls.call import Document
from icm.client import Client
from icm.commands.jobs import check_folder
from icm.commands.options import ApiKey, Json, Url
from icm.commands.output import (
    count,
    measured,
    on_stderr,
    on_stdout,
    plain_table,
    write_json,
    write_line,
    write_warnings,
)
from icm.commands.progress import done, followed
from icm.documents import Training
from icm.requests import DEFAULT_URL
from service.records.training_kinds import TrainingKind

Jobs = Annotated[list[str], typer.Argument(metavar="JOB...", help="Finished jobs to learn from.")]
TrainingId = Annotated[str, typer.Argument(metavar="ID", help="Id of the training.")]
Reward = Annotated[
    str | None, typer.Option(help="Kind policy: the training of the reward model whose rewards to raise.")
]
Judge = Annotated[
    str | None, typer.Option(help="Kind policy: a second reward model, which compares the policy with its base.")
]
Prompt = Annotated[
    str | None,
    typer.Option(
        help=r"Kind policy: the text to continue; a row's column replaces {column}, and \n is a line break. "
        "Default: the job's template."
    ),
]
Stop = Annotated[str | None, typer.Option(help=r"Kind policy: a text of one token that ends a completion, such as \n.")]
CompletionTokens = Annotated[int | None, typer.Option(min=1, help="Kind policy: most tokens of a completion.")]
Uncertain = Annotated[
    bool, typer.Option("--uncertain", help="Learn from rows of status uncertain, too (rows.statuses).")
]
KlLimit = Annotated[float | None, typer.Option(help="Kind policy: largest KL divergence in nats for a completion.")]


def train(  # noqa: PLR0913 - each is an option that people give
    job: Jobs,
    *,
    kind: Annotated[
        TrainingKind,
        typer.Option(help="Predict labels, score which of two texts is better, or write texts of high reward."),
    ] = TrainingKind.LABEL,
    base: Annotated[str | None, typer.Option(help="The language model to start from; default: the jobs' own.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over all rows.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Rank of LoRA.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate at the first step.")] = None,
    min_confidence: Annotated[float | None, typer.Option(help="Leave out rows with a lower confidence.")] = None,
    uncertain: Uncertain = False,
    holdout: Annotated[float | None, typer.Option(help="Share of rows to evaluate on.")] = None,
    control: Annotated[
        list[str] | None, typer.Option(help="A control, such as shuffled, to compare with; repeat for several.")
    ] = None,
    reward: Reward = None,
    judge: Judge = None,
    prompt: Prompt = None,
    stop: Stop = None,
    completion_tokens: CompletionTokens = None,
    kl_limit: KlLimit = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Train even if a report says do_not_use.")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Estimate the cost; train nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the training to its end.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Train a language model on finished jobs; print the training's id."""
    settings: dict[str, Any] = {"kind": kind.value, "seed": seed, "force": force, "controls": control or []}
    settings |= _given(base=base, epochs=epochs, rank=rank, learning_rate=learning_rate)
    statuses = ["labeled", "uncertain"] if uncertain else None
    settings |= _given(rows=_given(min_confidence=min_confidence, holdout=holdout, statuses=statuses) or None)
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
    """The options that people have given."""
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
    rows = f"rows: {found['rows']}, of them held out: {found['held_out']}"
    left_out = f"; left out of the jobs' rows: {found['left_out']}" if found.get("left_out") else ""
    lines = [f"base: {found['base']}", rows + left_out]
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
        for training in islice(client.trainings.list(status=status), limit):
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
    """The training once it has ended well; prints what its report measured. Raises JobEndedBadly."""
    ended = followed(client.trainings.wait, training.id, quiet=as_json)
    if not as_json:
        for line in measured(client.trainings.report(training.id)["report"]):
            write_line(on_stderr(), line)
    return ended


def _tell(training: Training, *, as_json: bool) -> None:
    if as_json:
        write_json(training.document)
        return
    write_line(on_stdout(), training.id)
    if training.status == "succeeded":
        write_line(
            on_stderr(), f"icm report {training.id} shows more, icm adapters {training.id} -o FOLDER downloads it"
        )
        return
    write_line(on_stderr(), f"icm watch {training.id} follows it; icm pause and icm cancel stop it")
