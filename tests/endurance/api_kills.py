"""Sends jobs to an API that is killed again and again: no job may be lost or created twice."""

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess

import httpx

from icm import Client
from icm.local_stack.free_ports import free_port
from icm.retries import RetryPolicy
from tests.endurance.doomed_api import FOREVER
from tests.support.forked import end, forked
from tests.support.running.harness import CONFIG, pairs

SENDERS = 4
START_SECONDS = 60.0
STUBBORN = RetryPolicy(attempts=2_000, first_delay_seconds=0.02, longest_delay_seconds=0.2)


@dataclass(frozen=True, kw_only=True)
class Death:
    """The end of one API process: at a number of answers to POSTs, or a time after its start."""

    answers: int = FOREVER
    seconds: float | None = None


@dataclass(kw_only=True)
class Outcome:
    """The outcome of the trial."""

    posts: int
    seed: int
    jobs: Sequence[str] = ()  # names of the stored jobs
    answered: Sequence[str] = ()  # ids in the answers to the senders
    replayed: int = 0  # answers with a job that an earlier request had created
    deaths: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_exactly_once(self) -> bool:
        """Whether every POST created one job, and every sender got the id of its own job."""
        names = sorted(job_name(number) for number in range(self.posts))
        return sorted(self.jobs) == names and len(set(self.answered)) == self.posts


def planned_deaths(seed: int, count: int) -> list[Death]:
    """Half of the deaths between commit and answer, half at any moment."""
    draw = random.Random(seed)
    return [
        Death(answers=draw.randint(1, 6)) if number % 2 == 0 else Death(seconds=draw.uniform(0.0, 0.6))
        for number in range(count)
    ]


def job_name(number: int) -> str:
    return f"post-{number}"


@dataclass
class MortalApi:
    """An API at one address, made of processes that die by a plan; the last one lives."""

    environment: Mapping[str, str]
    url: str
    process: ForkServerProcess | None = None

    def run_through(self, deaths: Sequence[Death], is_over: threading.Event) -> dict[str, int]:
        """Start processes one by one until the plan is done or all is sent; returns how many died in which way."""
        counted = {"between commit and answer": 0, "at any moment": 0}
        for death in deaths:
            self.start(death.answers)
            if death.seconds is not None:
                is_over.wait(death.seconds)
                self.end()
            while self.is_alive() and not is_over.wait(0.01):
                pass
            if self.is_alive():
                return counted
            counted["between commit and answer" if death.seconds is None else "at any moment"] += 1
        self.start(FOREVER)
        return counted

    def start_for_good(self) -> None:
        """Start one process that lives, in place of one that may die by the plan."""
        self.end()
        self.start(FOREVER)

    def end(self) -> None:
        """Kill the present process, if any."""
        if self.process is not None:
            end(self.process)

    def start(self, answers: int) -> None:
        """Start the next process and wait until it answers."""
        self.process = forked("tests.endurance.doomed_api", answers, environment=self.environment)
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
        return self.process is not None and self.process.is_alive()


@contextmanager
def mortal_api(database_url: str) -> Iterator[MortalApi]:
    """An API over this database without a process yet; all processes end with the block."""
    port = free_port()
    environment = {
        "ICM_DATABASE_URL": database_url,
        "ICM_PORT": str(port),
        "ICM_BACKENDS": json.dumps([{"name": "default", "kind": "deterministic"}]),
        "ICM_LOG_LEVEL": "ERROR",
    }
    api = MortalApi(environment, f"http://127.0.0.1:{port}")
    try:
        yield api
    finally:
        api.end()


class _Counting(httpx.HTTPTransport):
    """Counts answers to replayed requests."""

    replayed = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        self.replayed += "Idempotency-Replayed" in response.headers
        return response


def post_through_kills(database_url: str, *, posts: int, kills: int, seed: int) -> Outcome:
    """Send jobs with the project's client while the API dies by a plan drawn from the seed."""
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
