"""Runs real jobs with real workers and a real Postgres, and kills all of them again and again.

    python -m tests.chaos                      the long form: 21 jobs, 350 faults, within half an hour on two cores
    python -m tests.chaos --scale short        what `make test` does; `make test-long` does --scale middle
    python -m tests.chaos --seed 7             another plan
    python -m tests.chaos --plan FILE          a plan that was printed before

Ends with status 1 where anything was found that should not be; plan and report are then in the --out folder.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from service.observability import configure_logging
from tests.chaos.plan import SCALES, Plan
from tests.chaos.report import put_into
from tests.chaos.run import Limits, run

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"


def read_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=list(SCALES), default="long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plan", type=Path, help="a file with a plan")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "chaos", help="folder for plan and report")
    parser.add_argument("--page", action="store_true", help="put the figures into docs/reliability.md")
    return parser.parse_args(words)


def main() -> int:
    """Run the plan and print the findings."""
    arguments = read_arguments()
    configure_logging("console", "ERROR")
    drawn = Plan.drawn(arguments.seed, SCALES[arguments.scale])
    plan = drawn if arguments.plan is None else Plan.read(arguments.plan.read_text("utf-8"))
    began = time.monotonic()

    def say(news: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:7.1f} s  {news}\n")
        sys.stdout.flush()

    say(f"plan: {plan}")
    report = asyncio.run(run(plan, Limits(), say))
    say(f"report: {report.write(arguments.out)}")
    sys.stdout.write(f"{report.figures()}\n")
    for violation in report.violations:
        sys.stdout.write(f"{violation}\n")
    if arguments.page and not report.violations:
        put_into(PAGE, report.figures())
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
