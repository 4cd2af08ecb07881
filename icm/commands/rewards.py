"""Commands for reward models: score texts by one, or train two to label many comparisons from a few searched ones."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Annotated, Any

import orjson
import typer

from icm.client import Client
from icm.commands.jobs import check_folder, check_other_file, format_of_output
from icm.commands.label import LanguageModel, OptionalUrl, Workers, connected
from icm.commands.options import ApiKey, Config, Failing, Json, Url, check_verdict, read_config
from icm.commands.output import on_stderr, on_stdout, write_json, write_line, write_warnings
from icm.commands.progress import followed
from icm.data.comparisons import Parts, Row, comparison_columns, digest, divided, merged
from icm.data.encoding import columns_of, encoded
from icm.data.files import saved
from icm.data.reading import FileRows, read_rows, refuse
from icm.documents import Job, Training
from icm.errors import ApiError, Fault, UnreadableRows
from icm.requests import DEFAULT_URL
from service.jobs.checks.rows import SourceRow
from service.result_formats import ENDINGS, RESULT_COLUMNS, ResultFormat
from service.values import as_text, counted, is_blank

TEXTS_AT_ONCE = 256  # the most that one request may have
ROWS_AT_ONCE = 2_000  # that are encoded
SCORE = "score"  # the column that a scored row has in addition
_SENT_TEXT = re.compile(r"texts\.([0-9]+)")

Rows = Annotated[
    Path,
    typer.Argument(metavar="ROWS", exists=True, dir_okay=False, help="JSONL, CSV, Excel or Parquet, optionally .gz."),
]
Form = Annotated[
    ResultFormat | None,
    typer.Option("--format", help="Format of the result. Default: by the ending of --output, else JSON lines."),
]


def score(
    training: Annotated[str, typer.Argument(metavar="ID", help="A finished training of kind reward.")],
    rows: Rows,
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the rows with their scores.")] = None,
    text: Annotated[str, typer.Option("--text", help="The column with the text.")] = "text",
    prompt: Annotated[str | None, typer.Option("--prompt", help="A column to put directly before the text.")] = None,
    form: Form = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
) -> None:
    """Score the texts of a file by a reward model; print each row with its score."""
    form = _form_of_scores(output, form)
    if output is not None:
        check_folder(output, "--output")
        check_other_file(output, {"the data set itself": rows}, "--output")
    columns = [name for name in (prompt, text) if name is not None]
    read = _read(rows, columns)
    refuse(rows, list(_faults_of_scored(read.rows, text, prompt)))
    names = columns_of((row.fields for row in read.rows), ())
    with Client(url, api_key=api_key) as client, _written(output) as file:
        chunks = _scored(client, training, rows, read.rows, columns)
        if output is None and form is ResultFormat.JSONL:
            file.writelines(_printed(chunks))
        else:
            file.writelines(encoded(form, chunks, names, (SCORE,), arrow_schema=read.arrow_schema))


def _form_of_scores(output: Path | None, form: ResultFormat | None) -> ResultFormat:
    """The format to write scored rows in: JSON lines, unless option or ending names another one."""
    if output is None and form not in {None, ResultFormat.JSONL} and sys.stdout.isatty():
        raise typer.BadParameter("a terminal shows JSON lines alone; give --output", param_hint="--format")
    if output is None or not output.suffix:
        return form or ResultFormat.JSONL
    return format_of_output(output, form)


def _read(path: Path, columns: Sequence[str]) -> FileRows:
    """Read a file, and warn of the assumptions made in reading it."""
    read = read_rows(path, columns)
    write_warnings(read.assumptions)
    return read


def reward_labels(  # noqa: PLR0913 - each is an option of the command
    rows: Rows,
    output: Annotated[Path, typer.Option("--output", "-o", help=f"File for the result; its name ends in {ENDINGS}.")],
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
    form: Form = None,
    url: OptionalUrl = None,
    model: LanguageModel = None,
    workers: Workers = 1,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Search labels for a part of the pairs, train a reward model on them, label the rest by it, train a final one."""
    check_folder(output, "--output")
    check_other_file(output, {"the data set itself": rows}, "--output")
    form = format_of_output(output, form)
    content = read_config(config, name=rows.stem)
    columns = comparison_columns(content)
    read = _read(rows, [*dict.fromkeys((columns[0], columns[1], *columns[2]))])
    settings: dict[str, Any] = {"kind": "reward", "force": force, "rows": {"holdout": holdout}}
    settings |= {} if base is None else {"base": base}
    parts = divided([row.fields for row in read.rows], columns, share)
    with connected(url, model, workers, api_key=api_key, quiet=as_json) as client:
        pipeline = _Pipeline(client, rows, read, parts, content, settings, as_json=as_json)
        lineage = pipeline.run(first_epochs, epochs, lambda part, rest: pipeline.save(part, rest, output, form))
    if as_json:
        write_json({"output": str(output), **lineage})
    check_verdict(fail_on, lineage["rest"]["report"])


@dataclass
class _Pipeline:
    """The steps from rows to the final reward model. Each has an Idempotency-Key, so a second run reuses its result."""

    client: Client
    path: Path
    read: FileRows
    parts: Parts
    config: dict[str, Any]
    settings: dict[str, Any]
    as_json: bool

    def run(self, first_epochs: int, epochs: int, save: Callable[[Job, Job], None]) -> dict[str, Any]:
        """Run all steps; return the jobs with their reports, and the trainings. `save` gets both jobs."""
        part = self._labelled(self.parts.first, self.config)
        first = self._trained([part], first_epochs)
        by_reward = {**self.config, "method": "reward_model", "reward": first.id}
        rest = self._labelled(self.parts.rest, by_reward)
        save(part, rest)
        final = self._trained([part, rest], epochs)
        jobs = {"part": part, "rest": rest}
        trainings = {"first": first, "final": final}
        return {
            **{name: {"job": job.document, "report": self.client.report(job.id)} for name, job in jobs.items()},
            **{name: {"training": one.document} for name, one in trainings.items()},
        }

    def _labelled(self, positions: Sequence[int], config: dict[str, Any]) -> Job:
        """The finished job that labels these rows. Raises JobEndedBadly."""
        rows = [self.read.rows[position] for position in positions]
        chosen = [row.fields for row in rows]
        config = _without_unknown(config, chosen)
        key = f"reward-labels-{digest(chosen, config)}"
        with _naming_rows(self.path, rows):
            job = self.client.create_job(chosen, config, idempotency_key=key)
        ended = followed(self.client.wait, job.id, quiet=self.as_json)
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
        ended = followed(self.client.trainings.wait, training.id, quiet=self.as_json)
        measured = self.client.trainings.report(training.id)["report"]["training"]["epochs"][-1]["held_out"]
        accuracy = "none" if measured["accuracy"] is None else f"{measured['accuracy']:.3f}"
        self._write(
            f"{training.id}: reward model of {counted(ended.rows, 'pair')} of {', '.join(ids)}; "
            f"accuracy on {counted(measured['rows'], 'held-out pair')}, by their labels: {accuracy}"
        )
        return ended

    def save(self, part: Job, rest: Job, output: Path, form: ResultFormat) -> None:
        """Write the rows of both jobs in the order of the input."""
        with TemporaryDirectory() as folder:
            files = [Path(folder) / f"{job.id}.jsonl" for job in (part, rest)]
            for job, file in zip((part, rest), files, strict=True):
                self.client.result(job.id, to=file)
            with files[0].open("rb") as one, files[1].open("rb") as other:
                rows = [orjson.loads(line) for line in merged(self.parts, one, other)]
        names = columns_of(rows, RESULT_COLUMNS)
        with saved(output) as target:
            chunks = (rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE))
            target.writelines(encoded(form, chunks, names, RESULT_COLUMNS, arrow_schema=self.read.arrow_schema))
        labelled = part.progress.labeled + rest.progress.labeled
        self._write(f"{output}: {labelled} of {counted(len(rows), 'row')} labelled")

    def _write(self, line: str) -> None:
        write_line(on_stderr() if self.as_json else on_stdout(), line)


def _without_unknown(config: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The configuration, without `known_field` if none of these rows has a known label: the service refuses that."""
    task = config.get("task")
    field = task.get("known_field") if isinstance(task, dict) else None
    if not isinstance(task, dict) or field is None or not all(is_blank(row.get(field)) for row in rows):
        return config
    return {**config, "task": {name: value for name, value in task.items() if name != "known_field"}}


def _faults_of_scored(rows: Sequence[SourceRow], text: str, prompt: str | None) -> Iterator[Fault]:
    """Rows without a text to score or without room for its score.

    Null has no text: scored as a word it would get a number like any other.
    """
    for row in rows:
        if SCORE in row.fields:
            yield Fault("the row has this column already, which the score would replace; rename it", row.line, SCORE)
        if is_blank(row.fields[text]):
            message = "it is blank or null, so that there is nothing to score; fill it in, or leave the row out"
            yield Fault(message, row.line, text)
        if prompt is not None and row.fields[prompt] is None:
            yield Fault("it is null; write text, or '' for no prompt", row.line, prompt)


def _scored(
    client: Client, training: str, path: Path, rows: Sequence[SourceRow], columns: Sequence[str]
) -> Iterator[list[Row]]:
    """The rows with their scores, as many at once as one request may have."""
    for start in range(0, len(rows), TEXTS_AT_ONCE):
        chunk = rows[start : start + TEXTS_AT_ONCE]
        with _naming_lines(path, [row.line for row in chunk], columns[-1]):
            rewards = client.score(training, ["".join(as_text(row.fields[name]) for name in columns) for row in chunk])
        yield [{**row.fields, SCORE: reward} for row, reward in zip(chunk, rewards, strict=True)]


def _printed(chunks: Iterable[Sequence[Row]]) -> Iterator[bytes]:
    """JSON lines that are plain in a terminal."""
    for chunk in chunks:
        yield b"".join(json.dumps(row).encode() + b"\n" for row in chunk)


@contextmanager
def _written(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    with saved(output) as file:
        yield file


@contextmanager
def _naming_lines(path: Path, lines: Sequence[int], column: str) -> Iterator[None]:
    """Turn the service's faults of texts, which it counts within one request, into those of the file's lines."""
    try:
        yield
    except ApiError as error:
        faults = [(_SENT_TEXT.fullmatch(fault.field or ""), fault.message) for fault in error.errors]
        if not faults or not all(place for place, _ in faults):
            raise
        named = [Fault(f"the text {message}", lines[int(place[1])], column) for place, message in faults if place]
        raise UnreadableRows(f"{path}: the service cannot score these rows", named) from error


@contextmanager
def _naming_rows(path: Path, rows: Sequence[SourceRow]) -> Iterator[None]:
    """Turn the lines of the service's faults, which it counts within the part that it got, into those of the file."""
    try:
        yield
    except ApiError as error:
        if not any(fault.line for fault in error.errors):
            raise
        named = [replace(fault, line=fault.line and rows[fault.line - 1].line) for fault in error.errors]
        raise UnreadableRows(f"{path}: {error.detail}", named) from error
