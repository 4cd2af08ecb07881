"""Commands for reward models: score texts by one, or train two to label many comparisons from a few searched ones."""

import codecs
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Annotated, Any

import typer

from icm.client import Client
from icm.commands.failures import BadConfigFile, JobEndedBadly
from icm.commands.jobs import check_folder, check_not_input, check_output
from icm.commands.label import LanguageModel, OptionalUrl, Workers, connected
from icm.commands.options import ApiKey, Config, Failing, Json, Url, check_verdict, read_config, read_json
from icm.commands.output import on_stderr, on_stdout, write_json, write_line
from icm.commands.progress import shown_progress
from icm.data.comparisons import Parts, Row, comparison_columns, digest, divided, merged
from icm.data.files import saved
from icm.documents import Job, Training
from icm.errors import ApiError
from icm.requests import DEFAULT_URL
from service.values import as_text, counted, is_blank, nearest

TEXTS_AT_ONCE = 256  # the most that one request may have
SCORE = "score"  # the column that a scored row has in addition
_SENT_TEXT = re.compile(r"texts\.([0-9]+)")

Rows = Annotated[Path, typer.Argument(metavar="ROWS", exists=True, dir_okay=False, help="Rows, as JSON lines.")]


def score(
    training: Annotated[str, typer.Argument(metavar="ID", help="A finished training of kind reward.")],
    rows: Rows,
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the rows with their scores.")] = None,
    text: Annotated[str, typer.Option("--text", help="The column with the text.")] = "text",
    prompt: Annotated[str | None, typer.Option("--prompt", help="A column to put directly before the text.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Score the texts of a file by a reward model; print each row with its score."""
    if output is not None:
        check_folder(output, "--output")
        check_not_input(output, rows)
    columns = [name for name in (prompt, text) if name is not None]
    read = list(_scorable(rows, columns))
    if not read:
        raise BadConfigFile(f"{rows}: there are no rows to score")
    with Client(url, api_key=api_key) as client, _written(output) as file:
        for start in range(0, len(read), TEXTS_AT_ONCE):
            chunk = read[start : start + TEXTS_AT_ONCE]
            with _told_by_line(rows, [number for number, _ in chunk]):
                texts = ["".join(as_text(row[name]) for name in columns) for _, row in chunk]
                rewards = client.score(training, texts)
            for (_, row), reward in zip(chunk, rewards, strict=True):
                scored = json.dumps({**row, SCORE: reward}, ensure_ascii=output is None)  # plain in a terminal
                file.write(scored.encode() + b"\n")


def reward_labels(  # noqa: PLR0913 - each is an option of the command
    rows: Rows,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the labelled rows, as JSON lines.")],
    config: Config,
    *,
    share: Annotated[float, typer.Option(min=0.001, max=0.9, help="The share of pairs that the search labels.")] = 0.1,
    base: Annotated[str | None, typer.Option(help="The language model that both reward models start from.")] = None,
    first_epochs: Annotated[int, typer.Option(min=1, help="Epochs of the first reward model.")] = 12,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the final reward model.")] = 3,
    holdout: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="The share of pairs held out to measure both.")
    ] = 0.2,
    force: Annotated[bool, typer.Option("--force", help="Continue even if a report says do_not_use.")] = False,
    fail_on: Failing = None,
    url: OptionalUrl = None,
    model: LanguageModel = None,
    workers: Workers = 1,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Search labels for a part of the pairs, train a reward model on them, label the rest by it, train a final one."""
    check_output(output, rows)
    if output.suffix.lower() != ".jsonl":
        raise typer.BadParameter("the result is JSON lines; let its name end in .jsonl", param_hint="--output")
    content = read_config(config, name=rows.stem)
    columns = comparison_columns(content)
    read = [row for _, row in _read_rows(rows, [columns[0], columns[1]])]
    settings: dict[str, Any] = {"kind": "reward", "force": force, "rows": {"holdout": holdout}}
    settings |= {} if base is None else {"base": base}
    with connected(url, model, workers, api_key=api_key, quiet=as_json) as client:
        pipeline = _Pipeline(client, read, divided(read, columns, share), content, settings, as_json=as_json)
        lineage = pipeline.run(first_epochs, epochs, output)
    if as_json:
        write_json({"output": str(output), **lineage})
    check_verdict(fail_on, lineage["rest"]["report"])


@dataclass
class _Pipeline:
    """The steps from rows to the final reward model. Each has an Idempotency-Key, so a second run reuses its result."""

    client: Client
    rows: Sequence[Row]
    parts: Parts
    config: dict[str, Any]
    settings: dict[str, Any]
    as_json: bool

    def run(self, first_epochs: int, epochs: int, output: Path) -> dict[str, Any]:
        """Run all steps; return the jobs with their reports, and the trainings."""
        part = self._labelled(self.parts.first, self.config)
        first = self._trained([part], first_epochs)
        by_reward = {**self.config, "method": "reward_model", "reward": first.id}
        rest = self._labelled(self.parts.rest, by_reward)
        self._save(part, rest, output)
        final = self._trained([part, rest], epochs)
        jobs = {"part": part, "rest": rest}
        trainings = {"first": first, "final": final}
        return {
            **{name: {"job": job.document, "report": self.client.report(job.id)} for name, job in jobs.items()},
            **{name: {"training": one.document} for name, one in trainings.items()},
        }

    def _labelled(self, positions: Sequence[int], config: dict[str, Any]) -> Job:
        """The finished job that labels these rows. Raises JobEndedBadly."""
        chosen = [self.rows[position] for position in positions]
        config = _without_unknown(config, chosen)
        key = f"reward-labels-{digest(chosen, config)}"
        job = self.client.create_job(chosen, config, idempotency_key=key)
        with self._shown() as show:
            ended = self.client.wait(job.id, on_change=show)
        if ended.status != "succeeded":
            raise JobEndedBadly(ended)
        report, labeller = self.client.report(job.id), config.get("reward") or "search"
        self._write(
            f"{job.id}: {ended.progress.labeled} of {counted(ended.progress.rows, 'row')} labelled by {labeller}"
        )
        self._write(f"  verdict: {report['verdict']}")
        for reason in report.get("reasons", []):
            self._write(f"  {reason['verdict']}: {reason['message']}")
        return ended

    def _trained(self, jobs: Sequence[Job], epochs: int) -> Training:
        """The finished training on the labels of these jobs. Raises JobEndedBadly."""
        ids = [job.id for job in jobs]
        settings = {**self.settings, "epochs": epochs}
        training = self.client.train(*ids, idempotency_key=f"reward-labels-{digest(ids, settings)}", **settings)
        with self._shown() as show:
            ended = self.client.trainings.wait(training.id, on_change=show)
        if ended.status != "succeeded":
            raise JobEndedBadly(ended)
        measured = self.client.trainings.report(training.id)["report"]["training"]["epochs"][-1]["held_out"]
        accuracy = "none" if measured["accuracy"] is None else f"{measured['accuracy']:.3f}"
        self._write(
            f"{training.id}: reward model of {counted(ended.rows, 'pair')} of {', '.join(ids)}; "
            f"accuracy on {counted(measured['rows'], 'held-out pair')}, by their labels: {accuracy}"
        )
        return ended

    def _save(self, part: Job, rest: Job, output: Path) -> None:
        """Write the rows of both jobs in the order of the input."""
        with TemporaryDirectory() as folder:
            files = [Path(folder) / f"{job.id}.jsonl" for job in (part, rest)]
            for job, file in zip((part, rest), files, strict=True):
                self.client.result(job.id, to=file)
            with files[0].open("rb") as one, files[1].open("rb") as other, saved(output) as target:
                target.writelines(merged(self.parts, one, other))
        self._write(
            f"{output}: {part.progress.labeled + rest.progress.labeled} of {counted(len(self.rows), 'row')} labelled"
        )

    @contextmanager
    def _shown(self) -> Iterator[Any]:
        if self.as_json:
            yield None
            return
        with shown_progress(as_json=False) as show:
            yield show

    def _write(self, line: str) -> None:
        write_line(on_stderr() if self.as_json else on_stdout(), line)


def _without_unknown(config: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The configuration, without `known_field` if none of these rows has a known label: the service refuses that."""
    task = config.get("task")
    field = task.get("known_field") if isinstance(task, dict) else None
    if not isinstance(task, dict) or field is None or not all(is_blank(row.get(field)) for row in rows):
        return config
    return {**config, "task": {name: value for name, value in task.items() if name != "known_field"}}


@contextmanager
def _written(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    with saved(output) as file:
        yield file


def _scorable(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of which each has a text to score and room for its score, with their lines. Raises BadConfigFile.

    Null has no text: scored as a word it would get a number like any other.
    """
    for number, row in _read_rows(path, columns):
        if SCORE in row:
            problem = f"the row has a column {SCORE!r} already, which the score would replace; rename it"
            raise BadConfigFile(f"{path}, line {number}: {problem}")
        if is_blank(row[columns[-1]]):
            raise BadConfigFile(
                f"{path}, line {number}: {columns[-1]!r} is blank or null, so that there is nothing to score; "
                "fill it in, or leave the row out"
            )
        if row[columns[0]] is None:
            raise BadConfigFile(f"{path}, line {number}: {columns[0]!r} is null; write text, or '' for no prompt")
        yield number, row


@contextmanager
def _told_by_line(path: Path, lines: Sequence[int]) -> Iterator[None]:
    """Turn the service's faults of texts, which it counts within one request, into those of the file's lines."""
    try:
        yield
    except ApiError as error:
        faults = [(_SENT_TEXT.fullmatch(fault.field or ""), fault.message) for fault in error.errors]
        if not faults or not all(place for place, _ in faults):
            raise
        told = (f"line {lines[int(place[1])]}: the text {message}" for place, message in faults if place)
        raise BadConfigFile(f"{path}, {'; '.join(told)}") from error


def _read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file with their lines, each with text, a number, true/false or null in these columns.

    Raises BadConfigFile, which names the line.
    """
    for number, line in enumerate(path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        if not line.lstrip().startswith(b"{"):
            raise BadConfigFile(f"{where}: a row must be a JSON object, in braces; write one a line (JSON lines)")
        row = read_json(line, where)
        if missing := next((name for name in columns if name not in row), None):
            meant = "".join(f" (did you mean {name!r}?)" for name in nearest(missing, row))
            raise BadConfigFile(f"{where}: the row has no column {missing!r}{meant}; it has {', '.join(row)}")
        if nested := next((name for name in columns if isinstance(row[name], dict | list)), None):
            raise BadConfigFile(f"{where}: {nested!r} holds a list or an object; write text, a number or true/false")
        yield number, row
