"""Starts servers on this machine, waits until they are ready, and ends them."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 900.0  # vLLM on a busy CPU takes minutes; a server that ends is noticed at once
_OWN_START_SECONDS = 120.0
_STOP_SECONDS = 40.0
_TAIL_LINES = 30


class ServerDidNotStart(Exception):
    """The server ended, or took too long; the text says which, with the end of its log if it has one."""


@contextmanager
def served_by(*words: str, health: str) -> Iterator[None]:
    """Run a module of ours, such as "inference", as a server, until the block ends. Raises ServerDidNotStart."""
    process = subprocess.Popen([sys.executable, "-m", *words])  # noqa: S603 - our own module
    try:
        deadline = time.monotonic() + _OWN_START_SECONDS
        while not _answers(health):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerDidNotStart(f"the server {words[0]} did not start")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A server to start: `python` with `arguments`, of the environment that `target` of the Makefile installs."""

    name: str
    python: Path
    target: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    health: str  # an address that answers once requests are taken


@contextmanager
def launched(launch: Launch, log: Path) -> Iterator[None]:
    """Start a server, wait until it is ready, end it afterwards, also where this process is killed.

    Raises ServerDidNotStart.
    """
    if not launch.python.exists():
        raise ServerDidNotStart(f"{launch.python} is not there; `make {launch.target}` installs {launch.name}")
    command = (sys.executable, "-m", "benchmarks.guarded", str(launch.python), *launch.arguments)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=dict(launch.environment)
        )
    try:
        _wait_until_ready(process, launch, log)
        yield
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], launch: Launch, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(launch.health):
        if process.poll() is not None:
            raise ServerDidNotStart(f"{launch.name} ended with status {process.returncode}:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise ServerDidNotStart(f"{launch.name} was not ready after {START_SECONDS:g} s:\n{_tail(log)}")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Close the guard's standard input, upon which it ends everything."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
