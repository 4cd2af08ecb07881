"""Runs `icm serve` on a disk that fills up: `python -m tests.endurance.full_disk` prints the outcome as JSON.

It is a process of its own because the small disk is one of this process alone (`small_disk`).
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from icm import Client
from icm.local_stack.embedded_postgres import running_url
from icm.retries import RetryPolicy
from service.storage.engine import driver_address
from tests.endurance.small_disk import fill, mount_here
from tests.support.running.harness import CONFIG, pairs

DISK_BYTES = 420 << 20
PATIENCE_SECONDS = 120.0
ICM = (sys.executable, "-P", "-m", "icm")
TWIN = json.dumps([{"name": "default", "kind": "deterministic"}])
LONG = [{**row, "note": "x" * 2_000} for row in pairs(4_000)]  # takes 8 MB on disk
PERSISTENT = RetryPolicy(attempts=1_000, first_delay_seconds=0.2, longest_delay_seconds=1.0)
WRITE_LOG = "SELECT pg_logical_emit_message(true, 'icm', repeat('x', 1000000))"  # to the write-ahead log alone


@dataclass
class Outcome:
    """The outcome of the trial."""

    answers: dict[str, dict[int, int]] = field(default_factory=dict)  # by phase, how often each status came
    rude: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)  # lines of `icm serve` on standard error
    jobs: dict[str, str] = field(default_factory=dict)
    lost: int = 0


@dataclass
class Trial:
    """A service on a small disk."""

    disk: Path
    url: str
    stderr: Path
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def said(self) -> list[str]:
        """The notices on standard error so far."""
        lines = [json.loads(line) for line in self.stderr.read_text().splitlines() if line.startswith("{")]
        return [line["notice"] for line in lines if "notice" in line]

    def ask(self, phase: str, *, posts: bool) -> int:
        """Send one request; returns the status of its answer."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            body = {"config": CONFIG, "examples": LONG}
            answer = client.post("/v1/jobs", json=body) if posts else client.get("/v1/jobs")
        counted = self.outcome.answers.setdefault(phase, {})
        counted[answer.status_code] = counted.get(answer.status_code, 0) + 1
        is_problem = answer.headers.get("content-type") == "application/problem+json"
        if not answer.is_success and not (is_problem and "retry-after" in answer.headers):
            self.outcome.rude.append(f"{answer.status_code} {answer.text[:200]}")
        return answer.status_code

    def timed(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, and record how long it took."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise TimeoutError(f"{what}: {self.said} {self.outcome}")
            time.sleep(0.1)
        self.outcome.seconds[what] = round(time.monotonic() - began, 2)

    def has_said(self, words: str, times: int = 1) -> bool:
        """Whether a notice with these words came this many times."""
        return sum(words in line for line in self.said) >= times

    def write_log_until_it_ends(self) -> None:
        """Let Postgres write its write-ahead log until it finds no room."""
        url = running_url(self.disk / "data" / "postgres")
        assert url is not None
        asyncio.run(_write_log(driver_address(url)))


async def _write_log(address: str) -> None:
    try:
        connection = await asyncpg.connect(address)
        while True:
            await connection.execute(WRITE_LOG)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return


def run() -> Outcome:
    """Fill the disk three times: under the data, under the write-ahead log, and under that without a disk reserve."""
    with _small_disk() as disk, _served(disk) as trial:
        with Client(trial.url, retries=PERSISTENT) as client:
            first = client.create_job(pairs(200), CONFIG)
            client.wait(first.id)
            before = client.result(first.id, to=disk.parent / f"{disk.name}-before.jsonl")
            trial.timed("ballast laid", lambda: trial.has_said("the disk reserve keeps"))
            _fill_under_data(trial, client)
            _fill_under_log(trial)
            trial.timed("new job after all", lambda: trial.ask("after all", posts=True) == httpx.codes.ACCEPTED)
            for job in client.jobs():
                trial.outcome.jobs[job.id] = client.wait(job.id, timeout_seconds=PATIENCE_SECONDS).status
            after = client.result(first.id, to=disk.parent / f"{disk.name}-after.jsonl")
        trial.outcome.lost = int(before.read_bytes() != after.read_bytes())
        for file in (before, after):
            file.unlink()
        trial.outcome.said = trial.said
        return trial.outcome


def _fill_under_data(trial: Trial, client: Client) -> None:
    """The disk fills during a job: the API refuses new jobs, and everything continues once there is room."""
    under_way = client.create_job(pairs(3_000), CONFIG)
    filler = fill(trial.disk)
    trial.timed("507 after full", lambda: trial.ask("data", posts=True) == httpx.codes.INSUFFICIENT_STORAGE)
    for _ in range(5):
        trial.ask("data", posts=True)
        trial.ask("data, reading", posts=False)
    trial.timed("told of a full disk", lambda: trial.has_said("full"))
    filler.unlink()
    trial.timed("202 after room", lambda: trial.ask("data, room again", posts=True) == httpx.codes.ACCEPTED)
    trial.timed("job under way ends", lambda: client.job(under_way.id).is_final)
    trial.timed("told of room", lambda: trial.has_said("has room again"))


def _fill_under_log(trial: Trial) -> None:
    """Postgres ends for want of room; the disk reserve brings it back once, and free room for good."""
    filler = fill(trial.disk)
    trial.write_log_until_it_ends()
    trial.timed("ballast dropped", lambda: trial.has_said("it gets the"))
    trial.timed("back by the disk reserve", lambda: trial.ask("log, ballast", posts=False) == httpx.codes.OK)
    fill(trial.disk)
    trial.write_log_until_it_ends()
    trial.timed("ended without ballast", lambda: trial.has_said("restarts once there is room"))
    for _ in range(8):
        trial.ask("log, no room", posts=False)
        time.sleep(1.0)
    filler.unlink()
    trial.timed("back after room", lambda: trial.ask("log, room again", posts=False) == httpx.codes.OK)
    trial.timed("ballast laid again", lambda: trial.has_said("the disk reserve keeps", times=2))


@contextmanager
def _small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="icm-test-") as folder:
        Path(folder).chmod(0o711)
        disk = Path(folder) / "disk"
        disk.mkdir()
        mount_here(disk, DISK_BYTES)
        try:
            yield disk
        finally:
            subprocess.run(["umount", "--lazy", disk], check=True)


@contextmanager
def _served(disk: Path) -> Iterator[Trial]:
    stderr = disk.parent / "stderr"  # not on the small disk
    command = (*ICM, "serve", "--port", "0", "--data-dir", str(disk / "data"), "--backends", TWIN, "--json")
    with (
        stderr.open("wb") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            started = process.stdout.readline()
            assert started, stderr.read_text()
            yield Trial(disk, json.loads(started)["url"], stderr)
            assert process.poll() is None, stderr.read_text()
        finally:
            process.terminate()


def main() -> int:
    """Run the trial, print the outcome, and return an exit status."""
    outcome = run()
    sys.stdout.write(json.dumps(asdict(outcome), indent=2) + "\n")
    return 0 if is_good(asdict(outcome)) else 1


def is_good(outcome: dict[str, Any]) -> bool:
    """Whether nothing was lost, every refusal was polite, and every accepted job has succeeded."""
    statuses = {int(status) for phase in outcome["answers"].values() for status in phase}
    ends = Counter(outcome["jobs"].values())
    return (
        statuses <= {200, 202, 503, 507} and not outcome["rude"] and not outcome["lost"] and set(ends) == {"succeeded"}
    )


if __name__ == "__main__":
    sys.exit(main())
