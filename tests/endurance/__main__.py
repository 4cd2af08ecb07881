"""What may happen to the service in a bad year, in minutes: `python -m tests.endurance`, `make endure`.

Every trial prints its figures as a line of JSON and whether all was as it should be; the exit status says
whether it was for all of them. Names of trials as arguments choose among them.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tests.endurance import outages, serving
from tests.endurance.api_kills import post_through_kills
from tests.endurance.duplicates import post_duplicates
from tests.endurance.kept_postgres import kept_postgres

SEED = 20261126
SLOWEST_ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Verdict:
    """The result of a trial."""

    is_good: bool
    figures: Mapping[str, Any]


def posts_through_api_kills() -> Verdict:
    """Send 500 POSTs with retries while the API is killed 60 times, half of them between commit and answer."""

    async def run() -> Any:
        async with kept_postgres(durable=True) as kept:
            return await asyncio.to_thread(post_through_kills, kept.server.url, posts=500, kills=60, seed=SEED)

    outcome = asyncio.run(run())
    figures = {"posts": outcome.posts, "jobs": len(outcome.jobs), "distinct answers": len(set(outcome.answered))}
    figures |= {"replayed answers": outcome.replayed, "deaths": outcome.deaths, "seed": outcome.seed}
    return Verdict(outcome.is_exactly_once, {**figures, "seconds": round(outcome.seconds, 1)})


def duplicate_posts() -> Verdict:
    """Send 1,000 equal POSTs over 8 connections under one key, and another one under it."""

    async def run() -> Any:
        async with kept_postgres(durable=True) as kept:
            return await post_duplicates(kept.server.url, posts=1_000, connections=8)

    outcome = asyncio.run(run())
    is_good = (outcome.statuses, outcome.bodies, outcome.jobs, outcome.changed_status) == ({202}, 1, 1, 422)
    return Verdict(is_good, {**asdict(outcome), "statuses": sorted(outcome.statuses)})


def postgres_kills() -> Verdict:
    """End Postgres 30 times under requests: killed, shut down at once, one session killed, in turn."""
    return _outage(lambda kept: outages.kill_postgres(kept, 30))


def disconnections() -> Verdict:
    """End half of all sessions every second for a minute, under requests."""
    return _outage(lambda kept: outages.disconnect_half(kept, rounds=60, pause_seconds=1.0))


def frozen_postgres() -> Verdict:
    """Stop every process of Postgres while as many requests as the pool has connections are running."""
    return _outage(lambda kept: outages.freeze(kept, outages.POOL_SIZE))


def full_disk() -> Verdict:
    """Run `icm serve` on a disk that fills up under its data and under its write-ahead log."""
    command = (sys.executable, "-m", "tests.endurance.full_disk")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout.startswith("{"):
        return Verdict(is_good=False, figures={"error": done.stderr[-2_000:]})
    return Verdict(done.returncode == 0, json.loads(done.stdout))


def taken_port() -> Verdict:
    """Start two `icm serve` with one port at the same moment, and a third one later."""
    figures = serving.taken_port(2)
    is_clear = all("is taken" in said for said in figures["said"])
    return Verdict(figures["serve"] == 1 and figures["exit codes"] == [serving.USAGE] * 2 and is_clear, figures)


def dead_inference() -> Verdict:
    """Run `icm serve`, kill its inference server during a job, and let one row of the job kill it each time."""
    figures = serving.dead_inference(rows=3, kills=1)
    is_good = (figures["status"], figures["unlabeled rows"], figures["serves on"]) == ("succeeded", ["fatal"], True)
    return Verdict(is_good, figures)


def poison_lease() -> Verdict:
    """Run `icm serve` with a shard that kills its worker each time, under a lease of 8 s, and a later healthy job."""
    figures = serving.poison_lease()
    ends = (figures["poisoned"]["error"], figures["healthy"]["status"], figures["serves on"])
    return Verdict(ends == ("worker_crashed", "succeeded", True), figures)


def _outage(faults: Callable[[Any], Any]) -> Verdict:
    async def run() -> outages.Outcome:
        async with kept_postgres(durable=True) as kept:
            outcome: outages.Outcome = await faults(kept)
            return outcome

    outcome = asyncio.run(run())
    is_polite = set(outcome.statuses) <= {200, 202, 503} and not outcome.rude and not outcome.lost
    is_whole = outcome.sessions == outages.POOL_SIZE
    is_prompt = max(outcome.longest_seconds, *outcome.back_seconds, 0.0) <= SLOWEST_ANSWER_SECONDS
    back = sorted(outcome.back_seconds)
    figures = asdict(outcome) | {"back_seconds": [round(seconds, 2) for seconds in (back[:1] + back[-1:])]}
    return Verdict(is_polite and is_whole and is_prompt, figures)


TRIALS: Mapping[str, Callable[[], Verdict]] = {
    trial.__name__.replace("_", "-"): trial
    for trial in (
        posts_through_api_kills,
        duplicate_posts,
        postgres_kills,
        disconnections,
        frozen_postgres,
        full_disk,
        taken_port,
        dead_inference,
        poison_lease,
    )
}


def main() -> int:
    """Run the chosen trials, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__)
    parser.add_argument("trials", nargs="*", choices=[*TRIALS, []], help="which ones; default: all")
    chosen = parser.parse_args().trials or list(TRIALS)
    all_good = True
    for name in chosen:
        began = time.monotonic()
        verdict = TRIALS[name]()
        all_good &= verdict.is_good
        line = {"trial": name, "good": verdict.is_good, "took": round(time.monotonic() - began, 1)}
        sys.stdout.write(json.dumps({**line, **verdict.figures}, default=list) + "\n")
        sys.stdout.flush()
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
