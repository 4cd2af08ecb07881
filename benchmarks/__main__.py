"""Compares every strategy and baseline and repeats the paper's experiments; writes docs/benchmarks.md and its plots.

    python -m benchmarks                        everything, under an hour on two cores
    python -m benchmarks --quick                tiny sizes, to see that it works
    python -m benchmarks --only tokens start    some experiments; others keep their stored results
    python -m benchmarks --redraw               tables and plots from the stored results

An interrupted run continues with --resume, which keeps stored results of the same language model.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmarks import page, plots, results
from benchmarks.execution import all_measured
from benchmarks.experiments import EXPERIMENTS, SCALES, Scale, planned
from benchmarks.results import Results
from benchmarks.runs import Measured, Run
from inference.model.language_model import fingerprint
from inference.settings import SMALL_MODEL


def read_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=list(SCALES), default="default")
    parser.add_argument("--quick", dest="scale", action="store_const", const="quick", help="the same as --scale quick")
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS), metavar="NAME")
    parser.add_argument("--model", type=Path, default=SMALL_MODEL, help="folder of the language model")
    parser.add_argument("--out", type=Path, help="folder to write to; default: docs, or build/docs for --quick")
    parser.add_argument("--processes", type=int, default=min(4, os.cpu_count() or 1))
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--resume", action="store_true", help="keep what is stored and compute what is missing")
    kept.add_argument("--redraw", action="store_true", help="compute nothing")
    return parser.parse_args(words)


def compute(arguments: argparse.Namespace, scale: Scale, path: Path) -> Results:
    """Make the missing runs; stores results while they come."""
    runs = planned(arguments.only, scale)
    sha = fingerprint(arguments.model)
    measured = _kept(arguments, path, sha, runs)
    missing = [run for run in runs if run not in measured]
    for number, (run, values) in enumerate(all_measured(missing, str(arguments.model), arguments.processes)):
        measured[run] = values
        if number % 10 == 0:
            results.write(path, Results(arguments.model.name, sha, scale.name, measured))
    found = Results(arguments.model.name, sha, scale.name, measured)
    results.write(path, found)
    return found


def _kept(arguments: argparse.Namespace, path: Path, sha: str, runs: list[Run]) -> dict[Run, Measured]:
    """Stored results of the same language model that are not to be computed anew."""
    if not path.exists():
        return {}
    stored = results.read(path)
    if stored.fingerprint != sha:
        return {}
    anew = set() if arguments.resume else set(runs)
    return {run: values for run, values in stored.measured.items() if run not in anew}


def main(words: list[str] | None = None) -> None:
    """Compute, then write."""
    arguments = read_arguments(words)
    scale = SCALES[arguments.scale]
    folder = arguments.out or Path("build/docs" if scale.name == "quick" else "docs")
    path = folder / "benchmarks" / "results.json"
    found = results.read(path) if arguments.redraw else compute(arguments, scale, path)
    scale = SCALES[found.scale]
    drawn = plots.draw_all(found, scale, folder / "benchmarks")
    (folder / "benchmarks.md").write_text(page.write(found, scale))
    sys.stdout.write("\n".join(map(str, [folder / "benchmarks.md", *drawn, path])) + "\n")


if __name__ == "__main__":
    main()
