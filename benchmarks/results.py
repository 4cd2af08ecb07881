"""Results as a file, so that tables and plots can be drawn again without computing."""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.runs import Measured, Run


@dataclass(frozen=True)
class Results:
    """The measurements of all runs on one language model."""

    language_model: str
    fingerprint: str
    scale: str
    measured: Mapping[Run, Measured] = field(default_factory=dict)

    def values(self, runs: Iterable[Run], name: str) -> list[float]:
        """One measure of those runs that have it."""
        found = (self.measured.get(run, {}).get(name) for run in runs)
        return [value for value in found if isinstance(value, int | float)]

    def mean(self, runs: Iterable[Run], name: str) -> float | None:
        """The mean of one measure over runs."""
        values = self.values(runs, name)
        return statistics.fmean(values) if values else None

    def verdicts(self, runs: Iterable[Run], verdict: str, name: str = "verdict") -> int:
        """The number of runs with this verdict."""
        return sum(self.measured.get(run, {}).get(name) == verdict for run in runs)


def write(path: Path, results: Results) -> None:
    """Store the results, runs in a fixed order, a line for each."""
    head = {
        "language_model": results.language_model,
        "fingerprint": results.fingerprint,
        "scale": results.scale,
    }
    lines = [
        json.dumps({"run": asdict(run), "measured": _rounded(results.measured[run])})
        for run in sorted(results.measured, key=lambda run: run.key)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(head)[:-1] + ', "runs": [\n' + ",\n".join(lines) + "\n]}\n")


def read(path: Path) -> Results:
    """Stored results. Raises OSError where there are none."""
    stored = json.loads(path.read_text())
    measured = {Run(**entry["run"]): entry["measured"] for entry in stored["runs"]}
    return Results(stored["language_model"], stored["fingerprint"], stored["scale"], measured)


def _rounded(measured: Measured) -> dict[str, float | str]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in measured.items()}
