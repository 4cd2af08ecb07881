"""Prints the tables of docs/training.md from the stored measurements of the benchmarks of training.

python -m benchmarks.training.tables
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.tables import spread
from benchmarks.training.records import Case, Measured, Records
from benchmarks.training.runs import RESULTS

Entries = Sequence[tuple[Case, Measured]]
_TAUGHT = ("found", "gold", "noise")


def tables(entries: Entries) -> str:
    """All tables for which there are figures, in Markdown."""
    return "\n".join([*_labels(entries), *_rewards(entries), *_policies(entries)])


def _labels(entries: Entries) -> Iterator[str]:
    cells: dict[str, dict[str, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    for case, measured in entries:
        if "part" in case:
            cells[case["task"]][case["part"]].append(measured)
    if cells:
        yield from _head("rows", "seeds", "labels found", "zero-shot", "calibrated", *_TAUGHT, "CPU seconds", "memory")
    for task, parts in cells.items():
        trained = [one for name in _TAUGHT for one in parts[name]]
        yield _line(
            task,
            str(len(parts["found"])),
            *(_accuracy(parts[name]) for name in ("search", "zero_shot")),
            _accuracy(parts["zero_shot"], "calibrated"),
            *(_accuracy(parts[name]) for name in _TAUGHT),
            f"{fmean(one['cpu_seconds'] for one in trained):.1f}" if trained else "-",
            f"{max(one['peak_mb'] for one in trained)} MB" if trained else "-",
        )


def _accuracy(measured: Sequence[Measured], name: str = "accuracy") -> str:
    return spread([one[name] for one in measured])


def _rewards(entries: Entries) -> Iterator[str]:
    found = [measured for case, measured in entries if case["task"] == "preference twins"]
    if found:
        yield from _head("seeds", "rows right by search", "rest right by `first`", "`first`", "`final`", "`gold`")
        names = ("search_accuracy", "rest_labelled_right", "first", "final", "gold")
        yield _line(str(len(found)), *(_accuracy(found, name) for name in names))


def _policies(entries: Entries) -> Iterator[str]:
    found = [(case, measured) for case, measured in entries if case["task"] == "policy"]
    if found:
        figures = ("reward", "judge's reward", "win rate", "KL, nats", "tokens", "with length", "warnings")
        yield from _head("chosen by", "seed", *figures)
    for case, measured in sorted(found, key=lambda entry: (entry[0]["reward"] != "truth", entry[0]["seed"])):
        length = measured["goes_with"]["length"]
        yield _line(
            case["reward"],
            str(case["seed"]),
            _change(measured["reward"]),
            _change(measured["judge"]),
            f"{measured['win_rate']:.2f}",
            f"{measured['kl_nats']:.2f}",
            f"{length['before']:.2f}, {length['after']:.2f}",
            "-" if length["share_of_gain"] is None else f"{length['share_of_gain']:.0%}",
            ", ".join(f"`{warning['code']}`" for warning in measured["warnings"]) or "none",
        )


def _head(*names: str) -> Iterator[str]:
    yield "\n" + _line(*names)
    yield "|---" * len(names) + "|"


def _change(rewards: Mapping[str, Any]) -> str:
    return f"{rewards['before']:.2f}, {rewards['after']:.2f}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    sys.stdout.write(tables(Records(parser.parse_args().results).all()) + "\n")


if __name__ == "__main__":
    main()
