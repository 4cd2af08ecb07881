"""Label an example through every part of a private service, and compare with gold labels that the search never sees.

`python -m examples.demo` starts the service and labels the rows of `demo.jsonl` twice: by ICM, and by asking the
language model about each row alone. It downloads both results and stops everything it started.
`--example reviews` takes film reviews, which need a language model pretrained on real text.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from icm import Client, Job
from icm.commands.failures import EXPECTED, ExitCode, report_failure
from icm.commands.output import count, on_stdout, write_line
from icm.commands.progress import followed
from icm.local_stack.temporary_service import PrivateService

HERE = Path(__file__).parent
METHODS = {"icm": "ICM", "zero_shot": "zero-shot"}
SMALL_MODELS_OWN, REVIEWS = "demo", "reviews"  # examples, by the names of their files
NEEDS_MODEL = (
    "the film reviews need a language model that was pretrained on real text, and the repository has none: name one, "
    "as in `make demo-real MODEL=HuggingFaceTB/SmolLM2-135M-Instruct`, or a folder or a GGUF file of yours"
)
_NEARLY_PERFECT = 0.95


@dataclass(frozen=True)
class Outcome:
    """One labelled copy of the data set."""

    path: Path
    job: Job
    report: dict[str, Any]

    def agreement(self) -> dict[str, float]:
        """By task, the share of rows whose label is the gold label; empty if the rows name no task."""
        hits: defaultdict[str, list[bool]] = defaultdict(list)
        with self.path.open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if "task" in row:
                    hits[row["task"]].append(row["icm_label"] == str(row["gold"]))
        return {task: sum(found) / len(found) for task, found in hits.items()}


def run(console: Console, *, example: str, language_model: str | None, out: Path) -> ExitCode:
    """Run the whole demo. Raises every error of the client and the private service."""
    out.mkdir(parents=True, exist_ok=True)
    data = HERE / f"{example}.jsonl"
    config = json.loads(data.with_suffix(".json").read_text(encoding="utf-8"))
    started = time.monotonic()
    console.print("starting a private service: Postgres, inference server, API, worker ...")
    service = PrivateService(
        language_model=language_model, tell_stage=lambda stage: write_line(console, f"  {stage} ...")
    )
    with service as url, Client(url) as client:
        console.print(f"ready after {time.monotonic() - started:.0f} s; labelling {data}", soft_wrap=True)
        outcomes = {method: _label(client, data, {**config, "method": method}, out) for method in METHODS}
    show(console, outcomes, usual_accuracy=_NEARLY_PERFECT if example == SMALL_MODELS_OWN else 0.0)
    console.print(f"labelled: {outcomes['icm'].path}", highlight=False, soft_wrap=True)
    console.print(f"stopped every part; the demo took {time.monotonic() - started:.0f} s")
    unlabeled = sum(outcome.job.progress.rows - outcome.job.progress.labeled for outcome in outcomes.values())
    return ExitCode.JOB_ENDED_BADLY if unlabeled else ExitCode.OK


def _label(client: Client, data: Path, config: dict[str, Any], out: Path) -> Outcome:
    method = config["method"]
    job = client.create_job(data, {**config, "name": METHODS[method]})
    job = followed(client.wait, job.id)
    path = client.result(job.id, to=out / f"{data.stem}-{method.replace('_', '-')}.jsonl")
    return Outcome(path, job, client.report(job.id))


def show(console: Console, outcomes: dict[str, Outcome], *, usual_accuracy: float) -> None:
    """Print both methods side by side, and say whether ICM found fewer gold labels than usual."""
    table = Table(title="share of rows that agree with the gold labels")
    table.add_column("")
    for method in outcomes:
        table.add_column(METHODS[method], justify="right")
    for name, *cells in _lines(list(outcomes.values())):
        table.add_row(name, *cells, end_section=name == "all rows")
    console.print(table)
    accuracy = outcomes["icm"].report["accuracy"]
    if accuracy is not None and accuracy < usual_accuracy:
        console.print("more of ICM's labels than usual differ from gold; see the reasons below")
    for reason in outcomes["icm"].report["reasons"]:
        write_line(console, f"  {reason['code']}: {reason['message']}")


def _lines(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
    shares = [outcome.agreement() for outcome in outcomes]
    for task in sorted(shares[0]):
        yield task, *(f"{share[task]:.3f}" for share in shares)
    reports = [outcome.report for outcome in outcomes]
    yield "all rows", *(f"{report['accuracy']:.3f}" for report in reports)
    yield "verdict of the report", *(str(report["verdict"]) for report in reports)
    yield "tokens sent", *(count(report["cost"]["tokens_sent"]) for report in reports)
    yield "tokens computed", *(count(report["cost"]["tokens_computed"]) for report in reports)
    yield "seconds", *(f"{report['cost']['seconds']:.1f}" for report in reports)


def main() -> int:
    """Run the command line, with the exit codes of `icm`."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--example", choices=(SMALL_MODELS_OWN, REVIEWS), default=SMALL_MODELS_OWN)
    parser.add_argument("--model", help="folder, hub name or GGUF file of another language model")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the labelled files")
    given = parser.parse_args()
    if given.example == REVIEWS and not given.model:
        parser.error(NEEDS_MODEL)
    try:
        return run(on_stdout(), example=given.example, language_model=given.model, out=given.out)
    except EXPECTED as error:
        return report_failure(error, as_json=False)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
