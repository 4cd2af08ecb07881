"""Writes docs/real_models.md and its plots from measured cells.

python -m benchmarks.real.page --results docs/real_models/results.jsonl --out docs
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from api.labelling.configuration import parse_config
from benchmarks.real import confidences, figures, verdicts, yardsticks
from benchmarks.real.ablations import PIECES, differences
from benchmarks.real.cells import Measured
from benchmarks.real.known import estimates
from benchmarks.real.ledger import Ledger
from benchmarks.real.methods import METHODS
from benchmarks.real.summary import NEAR, Line, Summary, mean_of, values
from benchmarks.real.tasks import KNOWN_ROWS, TASKS
from benchmarks.tables import markdown, number, spread

_HEAD = """# Real language models and real text

This page compares labelling methods on pretrained language models: accuracy, cost, verdicts. `make bench-real` writes
it. Every method gets the same rows of a task, drawn by the seed, on the same language model; related rows stay
together. N = {rows} rows unless a line says otherwise, with up to {seeds} seeds; the tables of costs give the number
of runs. Gold labels serve the comparison; the tables name the methods that receive some. Tokens are per row, in units
of L, the mean length of a row as a demonstration: *sent* counts all prompts in full, *computed* the tokens outside
the prefix cache. With N = {rows}, an accuracy of 0.75 has a standard error of {error:.2f}. The raw numbers are in
`real_models/results.jsonl`.

## How to run it
```sh
make bench-real DATA=FOLDER MODELS="small=FOLDER_OR_HUB_NAME large=FOLDER_OR_HUB_NAME" BENCH="--rows 64 --seeds 3"
```
A language model is a folder from Hugging Face's `save_pretrained`, or a name on the hub. The repository has none of
these, and the command downloads only what you name. On a machine without access to the hub, copy the folder there first
(`hf download NAME --local-dir FOLDER` on another one). `DATA` holds the files of the table below, one JSON object a
line, which the repository does not have either. The command stores each cell as it ends: if you stop it and start it
again with the same arguments, it resumes. `python -m benchmarks.real --help` lists every option;
`python -m benchmarks.real.page` writes this page from the stored cells alone.

{tasks}
"""
_METHODS = """
## Methods
- `zero_shot`: each row alone. `zero_shot_calibrated`: the same with batch calibration (arXiv 2309.17249), which adds a
  constant to each label's log-probability so that the mean prediction over the rows is uniform.
- `few_shot_random`, `bootstrap`: the baselines of the service.
- `joint_inference` (arXiv 2504.02349) starts from zero-shot labels and makes 8 rounds. In each it scores every row
  behind 16 demonstrations, balanced over the current labels, and takes the majority of 5 draws without calibration. A
  quarter of the rows shares its draws; `joint_inference_per_row` draws for every row, as its authors do, at about ten
  times the cost.
- `iterpsd` (arXiv 2503.03062) annotates rows in chunks, the most confident first, behind the confident half of the rows
  annotated so far.
- `paper`, `authors`: Algorithm 1 of arXiv 2506.10139 as printed and as released. `default`: the service's default
  search.
- `gold_few_shot`: behind {known} other rows with gold labels; `gold_many_shot`: behind the gold labels of all rows
  outside the row's fold, an eighth of the rows, or as many as fit. Both exist calibrated, too. They show how far
  labels help.
- `gold_redrawn`: the sweeps of `default` from the impression, but started at the gold labels. It shows how many of
  them the search's own redraw keeps.
"""
_ACCURACY = """
## Accuracy
The cells give mean and standard deviation over seeds, and in brackets the number of collapsed runs, in which 95 % of
the rows or more have one label.
"""
_BESIDE = """
## Beside its yardsticks
`default` less calibrated zero-shot and less calibrated gold many-shot, paired by seed: the mean with its 95 % interval
(Student's t over seeds; a seed draws other rows and another search). *Worst*: the lowest single difference to
calibrated zero-shot. *Mark*: the better of calibrated zero-shot less 0.01 and calibrated gold many-shot less 0.02;
it is reached if the mean is at least that and no run is more than 0.05 below calibrated zero-shot.

{table}"""
_PLOTS = """
![Accuracy by method, task and language model; open points are collapsed labellings](real_models/accuracy.svg)

## Cost and quality of scores
The cells are means over tasks and seeds. *AUROC*: how well the margin separates the gold labels over all thresholds,
for tasks with two labels; 0.5 is chance. *Calibration error*: the expected calibration error of the confidence, in
ten bins. *U*: utility (mean form, alpha = 50) under the method's own last scores.
"""
_COST = """
![Accuracy against tokens computed per row](real_models/cost.svg)
"""
_MEASURE = """
## Does the measure choose well?
A search visits many labellings and ends with the one that its measure ranks first. *Rank correlation*: Spearman's rho
between measure and accuracy over the labellings of a run, the mean over runs. *Chosen well*: the share of runs that
ended within {near} of the best accuracy they visited; *lost*: the mean distance to it.

{table}
![Accuracy of the labellings met against the measure; dotted: where the run ended](real_models/measure.svg)
"""
_VERDICTS = """
## Does the verdict warn?
The tables give the report's verdicts on the labels of `default` and `default_known`. Labels are *right* if their
accuracy is at most {near} below that of calibrated gold many-shot prompting of the same rows.

{table}
{surprises}"""
_CONFIDENCE = """
## Is the confidence honest?
The table has the runs of `default` and `default_known` whose cells hold their confidence; means over the runs. *`ok`*:
runs with this verdict. *By chance*: the calibration error that the same confidences would show if each were the
probability of a right label; {rows} rows are so few that it is not 0. *Corrected*: the root of the mean squared
distance without the part of chance (arXiv 1909.10155), 0 where chance explains all.

{table}"""
_ABLATIONS = """
## What each piece is worth
The table takes the final look of `default` and leaves out one piece, without further prompts. It gives the accuracy
without the piece less the accuracy of the complete search: mean and standard deviation over the runs whose
demonstrations confirmed the first impression.

"""
_KNOWN = """
## Known rows
The report estimates the accuracy from {known} known rows, none of which a prompt shows while it is scored. The table
compares that estimate with the accuracy on the other rows: *covered* is the share of runs whose 95 % interval
contains it.

{table}
"""

_BESIDE_HEAD = ("model", "task", "seeds", "accuracy", "less zero-shot", "less gold", "worst", "mark", "reached")
_COLUMNS = {
    "accuracy": ("accuracy", 3),
    "AUROC": ("auroc", 3),
    "calibration error": ("calibration_error", 3),
    "U": ("utility", 1),
    "sent": ("sent", 1),
    "computed": ("computed", 1),
    "seconds": ("seconds", 0),
}


def write(summary: Summary) -> str:
    """The page."""
    parts = [_head(summary), _METHODS.format(known=KNOWN_ROWS), _ACCURACY]
    parts += [f"\n### {model}\n{_accuracies(summary, model)}" for model in summary.models]
    if compared := list(yardsticks.lines(summary.kept)):
        parts.append(_BESIDE.format(table=markdown(_BESIDE_HEAD, compared)))
    parts.append(_PLOTS)
    parts += [f"\n### {model}: cost and scores\n{_costs(summary, model)}" for model in summary.models]
    parts.append(_COST)
    if choices := summary.choices():
        rows = [
            (
                model,
                task,
                f"`{method}`",
                str(choice.runs),
                number(choice.met, 1),
                number(choice.correlation, 2, sign=True),
                number(choice.near, 2),
                number(choice.lost, 3),
            )
            for (model, task, method), choice in choices.items()
        ]
        head = ("model", "task", "method", "runs", "met in each", "rank correlation", "chosen well", "lost")
        parts.append(_MEASURE.format(near=NEAR, table=markdown(head, rows)))
    if found := verdicts.judged(summary.kept):
        parts.append(_verdicts(found))
    if told := list(confidences.lines(summary.kept)):
        table = markdown(confidences.HEAD, told)
        parts.append(_CONFIDENCE.format(rows=summary.usual_rows, table=table))
    parts += _ablations(summary)
    if known := list(estimates(summary.kept)):
        table = markdown(("model", "task", "runs", "accuracy", "estimated", "covered", "known rows kept"), known)
        parts.append(_KNOWN.format(known=KNOWN_ROWS, table=table))
    return "".join(parts)


def _ablations(summary: Summary) -> Iterator[str]:
    found = {
        (model, task): differences(run["ablated"] for run in _runs_of_default(summary, model, task))
        for model in summary.models
        for task in summary.tasks
    }
    seen = {place: pieces for place, pieces in found.items() if pieces}
    if seen:
        rows = [(*place, *(spread(pieces.get(name, [])) for name in PIECES)) for place, pieces in seen.items()]
        yield _ABLATIONS + markdown(("model", "task", *PIECES), rows)


def _runs_of_default(summary: Summary, model: str, task: str) -> Iterator[Measured]:
    for line in summary.lines:
        if line.method == "default":
            yield from (run for run in summary.of(model, line, task) if "ablated" in run)


def _verdicts(found: list[verdicts.Judged]) -> str:
    lines = list(verdicts.surprises(found))
    told = markdown(("run", "verdict", "labels", "reasons"), lines) if lines else "No right labels are refused.\n"
    return _VERDICTS.format(near=verdicts.NEAR_GOLD, table=verdicts.confusion(found), surprises=told)


def _head(summary: Summary) -> str:
    rows = summary.usual_rows
    return _HEAD.format(
        rows=rows,
        seeds=len({cell.seed for cell in summary.kept}),
        error=math.sqrt(0.75 * 0.25 / max(1, rows)),
        tasks=markdown(("task", "file", "prompt", "labels", "rules and shares"), map(_task, summary.tasks)),
    )


def _task(name: str) -> tuple[str, ...]:
    task = TASKS[name]
    config = parse_config(task.config).task
    rules = [relation.kind for relation in config.relations]
    shares = [f"{share:.0%} {label}" for label, share in task.shares.items()]
    words = [f"{word} for {value}" for value, word in task.words.items()]
    prompt = config.template.replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")
    return name, task.file, f"`{prompt}`", ", ".join(config.labels), ", ".join([*rules, *shares, *words])


def _accuracies(summary: Summary, model: str) -> str:
    rows = [
        (_named(summary, line), *(_accuracy(summary, model, line, task) for task in summary.tasks))
        for line in summary.lines
        if summary.of(model, line)
    ]
    return markdown(("method", *summary.tasks), rows)


def _accuracy(summary: Summary, model: str, line: Line, task: str) -> str:
    runs = summary.of(model, line, task)
    collapsed = sum(values(runs, "collapsed"))
    return spread(values(runs, "accuracy")) + (f" [{collapsed:.0f}]" if collapsed else "")


def _costs(summary: Summary, model: str) -> str:
    lines = {line: runs for line in summary.lines if (runs := summary.of(model, line))}
    rows = [
        (
            _named(summary, line),
            METHODS[line.method].gold,
            str(len(runs)),
            f"{sum(values(runs, 'collapsed')):.0f}",
            *(number(mean_of(runs, name), digits) for name, digits in _COLUMNS.values()),
        )
        for line, runs in lines.items()
    ]
    return markdown(("method", "given gold of", "runs", "collapsed", *_COLUMNS), rows)


def _named(summary: Summary, line: Line) -> str:
    method, *rest = summary.name(line).split(",")
    return ",".join([f"`{method}`", *rest])


def main(words: Sequence[str] | None = None) -> None:
    """Write the page and its plots."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("docs/real_models/results.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder for real_models.md and real_models/")
    arguments = parser.parse_args(words)
    summary = Summary(Ledger(arguments.results).read())
    if not summary.kept:
        parser.error(f"{arguments.results} holds no cells; `python -m benchmarks.real` makes them")
    drawn = figures.draw_all(summary, arguments.out / "real_models")
    page = arguments.out / "real_models.md"
    page.write_text(write(summary), encoding="utf-8")
    sys.stdout.write("\n".join(map(str, [page, *drawn])) + "\n")


if __name__ == "__main__":
    main()
