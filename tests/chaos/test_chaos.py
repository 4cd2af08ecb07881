"""The short form of `make chaos`; docs/reliability.md describes the long one."""

import os
import sys
from pathlib import Path

import pytest

from tests.chaos.plan import MIDDLE, SHORT, Kind, Plan
from tests.chaos.run import Limits, run
from tests.long import LONG

SEED = int(os.environ.get("CHAOS_SEED", "1"))
FEWEST = {Kind.KILL: 2 if LONG else 1, Kind.STOP: 1}  # of those planned; a job may end before its last fault comes


@pytest.mark.timeout(300)
async def test_jobs_end_with_the_same_labels_whatever_is_killed(tmp_path: Path) -> None:
    plan = Plan.drawn(SEED, MIDDLE if LONG else SHORT)
    sys.stdout.write(f"CHAOS_SEED={SEED} {plan}\n")  # pytest shows it where the test fails
    limits = Limits(abreast=len(plan.jobs), lease_seconds=3.0)
    report = await run(plan, limits, lambda news: None)
    report.write(tmp_path)
    assert list(report.violations) == []
    assert {kind: report.counts[kind] for kind in FEWEST if report.counts[kind] < FEWEST[kind]} == {}
