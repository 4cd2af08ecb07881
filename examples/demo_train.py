"""Labels rows with a private service, trains an adapter on the labels found, serves it, and labels fresh rows with it.

`python -m examples.demo_train` labels 256 rows by ICM through every part of the service, trains a LoRA adapter of the
small language model on the labels that were found (`python -m training`), serves it as a model of a private service,
and has the service label 256 fresh rows by the small model and by the adapter, each row alone. Gold labels are used for
the accuracies shown at the end and for nothing else.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.demo import HERE
from examples.make_demo_data import task_rows
from icm import Client
from icm.commands.failures import EXPECTED, ExitCode, report_failure
from icm.commands.output import on_stdout
from icm.commands.progress import followed
from icm.errors import IcmError
from icm.local_stack.temporary_service import PrivateService
from inference.pretraining.world import TASKS
from inference.settings import SMALL_MODEL

ROWS = 256  # to label and train on; as many fresh ones
TASK_NAMES = ("comparisons_digits", "comparisons_words")
CONFIG = json.loads((HERE / "demo.json").read_text(encoding="utf-8"))
ADAPTER = "trained"  # its name as a model of the service
_SEED = 2
_IS_RUN = "run.json"  # marks a folder of `python -m training`

Row = Mapping[str, Any]


class TrainingFailed(IcmError):
    """The training command ended with an error; the text is its reason."""


def draw() -> tuple[list[Row], list[Row]]:
    """Rows to label and fresh rows: comparisons of two numbers, half of each true; no fresh row was labelled."""
    rng = Random(_SEED)
    each = ROWS // len(TASK_NAMES)
    drawn = [task_rows(task, rng, 2 * each) for task in TASKS if task.name in TASK_NAMES]
    parts = [[row for rows in drawn for row in rows[place : place + each]] for place in (0, each)]
    for part in parts:
        rng.shuffle(part)
    return _numbered(parts[0]), _numbered(parts[1])


def _numbered(rows: Sequence[Row]) -> list[Row]:
    return [{"id": f"{number:03d}", **row} for number, row in enumerate(rows)]


def prompt_of(row: Row) -> str:
    """A row as the job's template writes it."""
    return str(CONFIG["task"]["template"].format(**row))


def examples_of(found: Iterable[Row]) -> Iterator[Row]:
    """Training rows of a job's result; rows about one question are one group."""
    for row in found:
        if row["icm_label"] is not None:
            group = f"{row['task']} {row['question']}"
            yield {"id": row["id"], "prompt": prompt_of(row), "label": row["icm_label"], "group": group}


def accuracy(rows: Sequence[Row], labels: Sequence[str | None]) -> float:
    """The share of rows whose label is the gold label."""
    return sum(str(row["gold"]) == label for row, label in zip(rows, labels, strict=True)) / len(rows)


def label_rows(rows: Sequence[Row], out: Path) -> list[Row]:
    """Label rows by ICM with a private service; they come back in their order. Raises the client's errors."""
    with PrivateService() as url, Client(url) as client:
        return _labelled(client, rows, {"name": "demo-train"}, out / "found.jsonl")


def zero_shot(rows: Sequence[Row], adapter: Path, out: Path) -> list[list[str | None]]:
    """The labels of rows, each asked alone, by the small model and by its adapter. Raises the client's errors."""
    with PrivateService(adapters={ADAPTER: adapter}) as url, Client(url) as client:
        jobs = [{"name": f"fresh-{model}", "model": model, "method": "zero_shot"} for model in ("default", ADAPTER)]
        found = [_labelled(client, rows, job, out / f"{job['name']}.jsonl") for job in jobs]
    return [[row["icm_label"] for row in labelled] for labelled in found]


def _labelled(client: Client, rows: Sequence[Row], job: Mapping[str, str], to: Path) -> list[Row]:
    """The result of a job over rows without their gold labels."""
    sent = [{name: value for name, value in row.items() if name != "gold"} for row in rows]
    task = {name: value for name, value in CONFIG["task"].items() if name != "gold_field"}
    created = client.create_job(sent, {**CONFIG, **job, "task": task})
    ended = followed(client.wait, created.id)
    return _read(client.result(ended.id, to=to))


def write_specification(found: Sequence[Row], out: Path) -> Path:
    """Write the training rows and what `python -m training` is to do with them; the specification's path."""
    _write(out / "rows.jsonl", examples_of(found))
    task, path = CONFIG["task"], out / "training.json"
    specification = {"base": str(SMALL_MODEL), "examples": "rows.jsonl", "device": "cpu"}
    specification |= {"labels": task["labels"], "separator": task["separator"]}
    path.write_text(json.dumps(specification, indent=2) + "\n", encoding="utf-8")
    return path


def train(found: Sequence[Row], out: Path, console: Console) -> Path:
    """Train an adapter on found labels; its folder. Raises TrainingFailed."""
    specification, folder, log_path = write_specification(found, out), out / "training", out / "training.log"
    if (folder / _IS_RUN).exists():  # of an earlier demo
        shutil.rmtree(folder)
    command = [sys.executable, "-P", "-m", "training", "run", str(specification), "--out", str(folder)]
    last: Mapping[str, Any] = {}
    with (
        log_path.open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,  # noqa: S603 - our own
    ):
        for last in map(json.loads, process.stdout or ()):
            _tell(last, console)
    if process.returncode:
        raise TrainingFailed(f"{last.get('reason', 'the training ended early')} (its log: {log_path})")
    return folder / str(last["artifact"])


def _tell(event: Mapping[str, Any], console: Console) -> None:
    if event["event"] == "evaluation" and event["stage"] == "training":
        held_out = event["held_out"]
        console.print(
            f"  epoch {event['epoch']}: says the found label of {held_out['agreement']:.0%} "
            f"of {held_out['rows']} rows that it was not trained on",
            highlight=False,
        )


def run(console: Console, out: Path) -> None:
    """Run the whole demo. Raises every error of the client, the training and the servers."""
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    rows, fresh = draw()
    console.print(f"labelling {len(rows)} rows through a private service ...")
    found = label_rows(rows, out)
    console.print(
        f"training an adapter of the small model on the labels found ({time.monotonic() - started:.0f} s) ..."
    )
    adapter = train(found, out, console)
    console.print(f"serving it; labelling {len(fresh)} fresh rows ({time.monotonic() - started:.0f} s) ...")
    before, after = zero_shot(fresh, adapter, out)
    by_id = {row["id"]: row["icm_label"] for row in found}
    table = Table("", title="share of rows that agree with the gold labels")
    table.add_column("accuracy", justify="right")
    table.add_row("fresh rows, zero-shot, before training", f"{accuracy(fresh, before):.3f}")
    table.add_row("labels that the search found", f"{accuracy(rows, [by_id[row['id']] for row in rows]):.3f}")
    table.add_row("fresh rows, zero-shot, after training on them", f"{accuracy(fresh, after):.3f}")
    console.print(table)
    console.print(f"adapter: {adapter}", highlight=False, soft_wrap=True)
    console.print(f"everything that was started is stopped; {time.monotonic() - started:.0f} s in all")


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; its exit codes are those of `icm`."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo_train", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo-train"), help="where rows, labels and adapter go")
    given = parser.parse_args(arguments)
    try:
        run(on_stdout(), given.out)
    except EXPECTED as error:
        return report_failure(error, as_json=False)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
