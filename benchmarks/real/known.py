"""How well known rows that are left out of the demonstrations estimate the accuracy of all others."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.real.cells import Cell, Measured
from benchmarks.tables import number
from service.jobs.reporting.proportions import proportion

METHOD = "default_known"


def estimates(kept: Mapping[Cell, Measured]) -> Iterator[tuple[str, ...]]:
    """A line for each language model and task that was labelled with known rows."""
    runs: dict[tuple[str, str], list[Measured]] = {}
    for cell, measured in kept.items():
        if cell.method == METHOD:
            runs.setdefault((cell.model, cell.task), []).append(measured)
    for (model, task), found in runs.items():
        yield model, task, *_line(found)


def _line(runs: Sequence[Measured]) -> Iterator[str]:
    facts = [run["facts"] for run in runs]
    yield str(len(runs))
    yield number(statistics.fmean(run["accuracy"] for run in runs), 3)
    yield number(statistics.fmean(fact["known_right"] / fact["known_rows"] for fact in facts), 3)
    yield f"{sum(map(_is_covered, runs))} of {len(runs)}"
    yield f"{sum(bool(fact['known_kept']) for fact in facts)} of {len(runs)}"


def _is_covered(run: Measured) -> bool:
    estimate = proportion(run["facts"]["known_right"], run["facts"]["known_rows"])
    return estimate is not None and estimate.lower <= run["accuracy"] <= estimate.upper
