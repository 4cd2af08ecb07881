"""Compares labelling methods on pretrained language models and real text.

    python -m benchmarks.real --data FOLDER --models small=FOLDER_OR_HUB_NAME --rows 64 --out results.jsonl

Every combination of task, language model, seed and method is a cell, stored as a line of --out as soon as it is
made; cells that the file holds already are left out. `python -m benchmarks.real.page` writes docs/real_models.md.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.real.cells import Cell, Measured
from benchmarks.real.execution import Made, Settings, all_made
from benchmarks.real.ledger import Ledger
from benchmarks.real.methods import METHODS
from benchmarks.real.tasks import TASKS
from inference.model.language_model import DTYPES

USUAL = [name for name, method in METHODS.items() if not method.extra]


def planned(arguments: argparse.Namespace) -> list[Cell]:
    """Every cell that the command line names, ordered so that neighbours share prompts."""
    cells = [
        Cell(
            task=task,
            model=model,
            seed=seed,
            method=method,
            rows=min(arguments.rows, METHODS[method].most_rows or arguments.rows),
        )
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        for task in arguments.tasks
        for model in arguments.models
        for method in arguments.methods
    ]
    return sorted(cells, key=lambda cell: (cell.seed, arguments.tasks.index(cell.task), cell.model, -cell.rows))


def check_fingerprint(kept: Mapping[Cell, Measured], made: Made) -> None:
    """Raises ValueError where cells of another language model have the same name."""
    name = made.cell.model
    if any(cell.model == name and measured["fingerprint"] != made.fingerprint for cell, measured in kept.items()):
        raise ValueError(f"the file holds cells of another language model that was called {name}, too")


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the tasks' files")
    parser.add_argument("--models", nargs="+", required=True, type=_named, metavar="NAME=MODEL", help="see above")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS), metavar="TASK")
    parser.add_argument("--methods", nargs="+", default=USUAL, choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/real_models/results.jsonl"))
    parser.add_argument("--again", action="store_true", help="make cells anew that are there already")
    parser.add_argument("--threads", type=int, help="CPU threads of each language model's process")
    parser.add_argument("--dtype", choices=["auto", *DTYPES], default="auto", help="see `python -m inference --help`")
    parser.add_argument("--cache-tokens", type=int, help="tokens that a prefix cache holds; default: 512 MiB")
    arguments = parser.parse_args(words)
    arguments.models = dict(arguments.models)
    arguments.threads = arguments.threads or max(1, (os.cpu_count() or 1) // len(arguments.models))
    return arguments


def _named(text: str) -> tuple[str, str]:
    name, equals, model = text.partition("=")
    if not (name and equals and model):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FOLDER_OR_HUB_NAME")
    return name, model


def main(words: Sequence[str] | None = None) -> int:
    """Make the missing cells; 1 if a cell could not be made."""
    arguments = read_arguments(words)
    ledger = Ledger(arguments.out)
    kept = ledger.read()
    cells = [cell for cell in planned(arguments) if arguments.again or cell not in kept]
    settings = Settings(
        models=arguments.models,
        data=arguments.data,
        threads=arguments.threads,
        cache_tokens=arguments.cache_tokens,
        dtype=arguments.dtype,
    )
    began, failed = time.monotonic(), 0
    for number, made in enumerate(all_made(cells, settings), start=1):
        if made.error:
            failed += 1
        else:
            check_fingerprint(kept, made)
            ledger.append(made.cell, made.measured, made.fingerprint)
        minutes, seconds = divmod(round(time.monotonic() - began), 60)
        sys.stderr.write(f"[{number}/{len(cells)} {minutes}:{seconds:02}] {_told(made)}\n")
        sys.stderr.flush()
    return 1 if failed else 0


def _told(made: Made) -> str:
    if made.error:
        return f"{made.cell} failed: {made.error}"
    accuracy, computed, seconds = (made.measured[name] for name in ("accuracy", "computed", "seconds"))
    return f"{made.cell}: accuracy {accuracy:.3f}, {computed:.1f} L computed, {seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
