"""Holds confidence against accuracy, run by run, with the part that chance has in the error."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.real.cells import Cell, Measured
from benchmarks.real.verdicts import JUDGED, reasons_for
from benchmarks.tables import number
from service.jobs.reporting.verdicts import Verdict, worst

HEAD = ("model", "task", "runs", "`ok`", "accuracy", "confidence", "calibration error", "by chance", "corrected")


def lines(kept: Mapping[Cell, Measured]) -> Iterator[tuple[str, ...]]:
    """A line for each language model and task that the service has labelled since its cells hold the confidence."""
    runs: dict[tuple[str, str], list[tuple[Verdict, Measured]]] = {}
    for cell, measured in kept.items():
        if cell.method in JUDGED and "confidence" in measured:
            judged = worst(reasons_for(cell, measured)), measured
            runs.setdefault((cell.model, cell.task), []).append(judged)
    for (model, task), found in runs.items():
        yield model, task, *_line(found)


def _line(found: Sequence[tuple[Verdict, Measured]]) -> Iterator[str]:
    yield str(len(found))
    yield str(sum(verdict is Verdict.OK for verdict, _ in found))
    for name in ("accuracy", "confidence", "calibration_error", "calibration_error_by_chance"):
        yield number(statistics.fmean(run[name] for _, run in found), 3)
    squared = statistics.fmean(run["squared_calibration_error"] for _, run in found)
    yield number(math.sqrt(max(0.0, squared)), 3)
