"""The report of a chaos run, with figures."""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.inflict import Inflicted, recovery_seconds, was_given_back
from tests.chaos.plan import SERVER_CRASHES, Kind, Plan
from tests.chaos.trace import CLAIMED, SAVED, Commit

BEGIN, END = "<!-- figures of make chaos: begin -->", "<!-- figures of make chaos: end -->"


@dataclass(frozen=True)
class Report:
    """A finished run."""

    plan: Plan
    lease_seconds: float
    workers: int
    inflicted: Sequence[Inflicted]
    commits: Sequence[Commit]
    violations: Sequence[str]
    seconds: float

    @property
    def counts(self) -> Counter[Kind]:
        """How often each kind of fault was inflicted."""
        return Counter(inflicted.fault.kind for inflicted in self.inflicted)

    @property
    def server_crashes(self) -> int:
        """How often all of Postgres went down."""
        return sum(self.counts[kind] for kind in SERVER_CRASHES)

    def recoveries(self, kind: Kind) -> list[float]:
        """Seconds from each fault of this kind to the next committed step of its shard."""
        found = (recovery_seconds(one, self.commits) for one in self.inflicted if one.fault.kind is kind)
        return sorted(seconds for seconds in found if seconds is not None)

    @property
    def handed_over(self) -> str:
        """How many workers that were asked to end released their shard, and how long the slowest took to end."""
        told = [one for one in self.inflicted if one.fault.kind is Kind.TERM]
        kept = sum(was_given_back(one, self.commits) for one in told)
        return f"{kept} of {len(told)}, ended within {max((one.seconds for one in told), default=0.0):.1f} s"

    def figures(self) -> str:
        """Tables for people."""
        return "\n".join([*self._summary(), "", *self._faults()])

    def write(self, folder: Path) -> Path:
        """Write the plan, so that the run can be repeated, and all findings; returns the report's file."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(f"{self.plan}\n", encoding="utf-8")
        found = {
            "seed": self.plan.seed,
            "seconds": round(self.seconds, 1),
            "violations": list(self.violations),
            "faults": {
                kind.value: {"met": self.counts[kind], "recovery_seconds": self.recoveries(kind)} for kind in Kind
            },
        }
        path = folder / "report.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return path

    def _summary(self) -> list[str]:
        what = Counter(commit.what for commit in self.commits)
        rows = {
            "seed of the plan": self.plan.seed,
            "jobs, shards": f"{len(self.plan.jobs)}, {what['succeeded']}",
            "workers at once, lease": f"{self.workers}, {self.lease_seconds:g} s",
            "crashes of the whole Postgres server": self.server_crashes,
            "faults that met a running job": f"{len(self.inflicted)} of {len(self.plan.faults)} planned",
            "committed steps": what[SAVED],
            "claims": what[CLAIMED],
            "workers told to end that released their shard": self.handed_over,
            "violations: results that differ, steps twice, backward or missing, stale writes, jobs given up": len(
                self.violations
            ),
            "duration": f"{self.seconds / 60:.1f} min",
        }
        return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]

    def _faults(self) -> list[str]:
        lines = ["| fault | times | next committed step, p50 | max |", "|---|---|---|---|"]
        for kind in Kind:
            seconds = self.recoveries(kind)
            if seconds:
                times = f"{statistics.median(seconds):.2f} s | {seconds[-1]:.2f} s"
                lines.append(f"| {kind.value} | {self.counts[kind]} | {times} |")
        return lines


def put_into(page: Path, figures: str) -> None:
    """Replace the figures between the page's marks."""
    before, rest = page.read_text("utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n{figures}\n{END}{after}", encoding="utf-8")
