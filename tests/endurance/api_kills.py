"""Jobs sent to an API that is killed again and again: none may be lost, and none made twice."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from icm import Client
from icm.local_stack.free_ports import free_port
from icm.retries import RetryPolicy
from tests.endurance.api_forker import FOREVER
from tests.unit.api.harness import CONFIG, pairs

ROOT = Path(__file__).parents[2]
SENDERS = 4
START_SECONDS = 60.0
STUBBORN = RetryPolicy(attempts=2_000, first_delay_seconds=0.02, longest_delay_seconds=0.2)


@dataclass(frozen=True, kw_only=True)
class Death:
    """How one API process ends: at so many answers to POSTs, or so long after it came up."""

    answers: int = FOREVER
    seconds: float | None = None


@dataclass(kw_only=True)
class Outcome:
    """What came of it."""

    posts: int
    seed: int
    jobs: Sequence[str] = ()  # the names of those that are stored
    answered: Sequence[str] = ()  # the ids that the senders were told
    replayed: int = 0  # answers that gave a job which an earlier request had made
    deaths: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_exactly_once(self) -> bool:
        """Whether every POST made its one job, and every sender was told of a job of its own."""
        names = sorted(job_name(number) for number in range(self.posts))
        return sorted(self.jobs) == names and len(set(self.answered)) == self.posts


def planned_deaths(seed: int, count: int) -> list[Death]:
    """Half of them between commit and answer, half at any moment."""
    draw = random.Random(seed)
    return [
        Death(answers=draw.randint(1, 6)) if number % 2 == 0 else Death(seconds=draw.uniform(0.0, 0.6))
        for number in range(count)
    ]


def job_name(number: int) -> str:
    return f"post-{number}"


@dataclass
class MortalApi:
    """An API at one address, made of processes that die by a plan; the last of them lives."""

    forker: "subprocess.Popen[str]"
    url: str
    pid: int = 0

    def run_through(self, deaths: Sequence[Death], is_over: threading.Event) -> dict[str, int]:
        """Start one process after the other until the plan is done or all is sent; how many died in which way."""
        counted = {"between commit and answer": 0, "at any moment": 0}
        for death in deaths:
            self.start(death.answers)
            if death.seconds is not None:
                is_over.wait(death.seconds)
                self._kill()
            while self.is_alive() and not is_over.wait(0.01):
                pass
            if self.is_alive():
                return counted
            counted["between commit and answer" if death.seconds is None else "at any moment"] += 1
        self.start(FOREVER)
        return counted

    def start_for_good(self) -> None:
        """One process that lives, in place of one that may be about to die by the plan."""
        self._kill()
        while self.is_alive():
            time.sleep(0.01)
        self.start(FOREVER)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def start(self, answers: int) -> None:
        """The next process, once it answers."""
        assert self.forker.stdin is not None
        assert self.forker.stdout is not None
        self.forker.stdin.write(f"{answers}\n")
        self.forker.stdin.flush()
        self.pid = int(self.forker.stdout.readline())
        deadline = time.monotonic() + START_SECONDS
        with httpx.Client() as client:
            while self.is_alive():
                with contextlib.suppress(httpx.TransportError):
                    client.get(f"{self.url}/health/live")
                    return
                assert time.monotonic() < deadline, "the API does not come up"
                time.sleep(0.02)

    def is_alive(self) -> bool:
        """Whether the present process runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True


@contextmanager
def mortal_api(database_url: str) -> Iterator[MortalApi]:
    """An API over this database, with nothing running yet; nothing of it outlives the block."""
    port = free_port()
    environment = {
        **os.environ,
        "ICM_DATABASE_URL": database_url,
        "ICM_PORT": str(port),
        "ICM_BACKENDS": json.dumps([{"name": "default", "kind": "deterministic"}]),
        "ICM_LOG_LEVEL": "ERROR",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.endurance.api_forker"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as forker:
        yield MortalApi(forker, f"http://127.0.0.1:{port}")  # leaving closes the input, which ends all


class _Counting(httpx.HTTPTransport):
    """Counts answers to requests that had been served before."""

    replayed = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        self.replayed += "Idempotency-Replayed" in response.headers
        return response


def post_through_kills(database_url: str, *, posts: int, kills: int, seed: int) -> Outcome:
    """Send so many jobs by the project's own client while the API dies by a plan made from the seed."""
    outcome = Outcome(posts=posts, seed=seed)
    began = time.monotonic()
    is_over = threading.Event()
    transport = _Counting()
    with (
        mortal_api(database_url) as api,
        Client(api.url, retries=STUBBORN, transport=transport) as client,
        ThreadPoolExecutor(SENDERS + 1) as pool,
    ):
        dying = pool.submit(api.run_through, planned_deaths(seed, kills), is_over)
        sent = [pool.submit(_post, client, number) for number in range(posts)]
        outcome.answered = _results(sent, is_over)
        outcome.deaths = dying.result()
        api.start_for_good()
        outcome.jobs = [str(job.document["name"]) for job in client.jobs()]
    outcome.replayed = transport.replayed
    outcome.seconds = time.monotonic() - began
    return outcome


def _post(client: Client, number: int) -> str:
    config = {**CONFIG, "name": job_name(number)}
    return client.create_job(pairs(4), config, idempotency_key=f"key-{number}").id


def _results(sent: "Sequence[Future[str]]", is_over: threading.Event) -> list[str]:
    try:
        return [future.result() for future in sent]
    finally:
        is_over.set()
