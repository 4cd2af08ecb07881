"""Runs `python -m training` as a child process, and passes on its events (docs/training.md)."""

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from service.ports.training import OnEvent
from service.records.trainings import TrainingEnd, TrainingEvent, TrainingOutcome
from service.training_process import tied
from service.training_process.lines import lines_of

logger = structlog.get_logger(__name__)

SPEC, EXAMPLES, OUT = "SPEC.json", "examples.jsonl", "out"
TRAINING = (sys.executable, "-P", "-m", "training")  # -P: no module from the working folder
_FINISHED, _IN_USE, _STOPPED = 0, 4, 75  # exit statuses of the command
# Prefixes of environment variables that the child must not see: settings, the database, object stores, the hub.
SECRET = ("ICM_", "DATABASE_URL", "PGPASS", "POSTGRES_", "AWS_", "AZURE_", "GOOGLE_", "HF_TOKEN")
_TAIL_LINES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildLimits:
    """Limits of time and of line length for a child."""

    grace_seconds: float = 5.0  # to save and end after a stop; then the child is killed and loses unsaved steps
    locked_poll_seconds: float = 1.0  # between two tries to use a folder in which another process trains
    longest_line_bytes: int = 1_000_000


def write_whole(path: Path, text: str) -> None:
    """Write a file that nobody sees before it is complete."""
    staged = path.with_name(f".{path.name}.partial")
    staged.write_text(text, "utf-8")
    staged.replace(path)


class TrainingChild:
    """One training in its own folder, which already contains its rows.

    `spec` is the specification without `examples`. The command resumes from earlier work in the folder.
    """

    def __init__(
        self,
        folder: Path,
        spec: Mapping[str, Any],
        *,
        limits: ChildLimits | None = None,
        program: Sequence[str] = TRAINING,
        options: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._spec = spec
        self._limits = limits or ChildLimits()
        self._command = (*program, "run", str(folder / SPEC), "--out", str(self.out), *options)

    @property
    def out(self) -> Path:
        """The command's output folder: the artifact, `manifest.json`, `report.json`."""
        return self._folder / OUT

    async def run(self, on_event: OnEvent, stop: asyncio.Event) -> TrainingOutcome:
        """Train until the end or until `stop` is set. An error of `on_event` ends the training.

        Call it from the main thread: on Linux the child ends with the thread that started it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / SPEC, json.dumps({**self._spec, "examples": EXAMPLES}, ensure_ascii=False))
        while not stop.is_set():
            child_run = _ChildRun(self._limits, on_event)
            outcome = await child_run.run(self._command, self.out, stop)
            if child_run.status != _IN_USE:
                return outcome
            logger.info("another process still trains in the folder", folder=str(self._folder))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._limits.locked_poll_seconds)
        return TrainingOutcome(TrainingEnd.STOPPED)


class _Protocol(asyncio.subprocess.SubprocessStreamProtocol):
    """Signals the exit of the process; `Process.wait` also waits for grandchildren that hold its output open."""

    def __init__(self) -> None:
        super().__init__(limit=65_536, loop=asyncio.get_running_loop())
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        """Set the event; the event loop calls this."""
        super().process_exited()
        self.exited.set()


class _ChildRun:
    """One run of the child process, from its start to its end."""

    def __init__(self, limits: ChildLimits, on_event: OnEvent) -> None:
        self._limits = limits
        self._on_event = on_event
        self._last: Mapping[str, Any] = {}
        self._last_lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self.status: int | None = None

    async def run(self, command: Sequence[str], out: Path, stop: asyncio.Event) -> TrainingOutcome:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            _Protocol,
            *(sys.executable, "-I", "-S", tied.__file__, str(os.getpid())),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith(SECRET)},
            process_group=0,  # so that its own children can be killed with it
        )
        process = asyncio.subprocess.Process(transport, protocol, loop)
        try:
            await self._follow(process, protocol.exited, stop)
        finally:
            await _end(process)
        self.status = process.returncode
        return self._outcome(out, process.returncode, was_stopped=stop.is_set())

    async def _follow(self, process: asyncio.subprocess.Process, exited: asyncio.Event, stop: asyncio.Event) -> None:
        """Read the process's output until it has ended, and stop it if `stop` is set."""
        reading = asyncio.create_task(self._read(process))
        ending = asyncio.create_task(exited.wait())
        stopping = asyncio.create_task(self._stop(process, stop))
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                _kill(process)  # its own children may hold its output open
            await reading
            await process.wait()
        finally:
            for task in (reading, ending, stopping):
                task.cancel()
            await asyncio.gather(reading, ending, stopping, return_exceptions=True)

    async def _stop(self, process: asyncio.subprocess.Process, stop: asyncio.Event) -> None:
        await stop.wait()
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await asyncio.sleep(self._limits.grace_seconds)
        logger.warning("the training did not end in time and is killed", pid=process.pid)
        _kill(process)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        errors = asyncio.create_task(self._read_errors(process))
        try:
            await self._read_events(process)
            await errors
        finally:
            errors.cancel()

    async def _read_events(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - `run` opens a pipe
        async for line in lines_of(process.stdout, self._limits.longest_line_bytes):
            event = event_of(line)
            if event is None:
                logger.warning("the training wrote a line that is no event", line=shown(line))
                continue
            if event.name == "end":
                self._last = event.facts
            await self._on_event(event)

    async def _read_errors(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None  # noqa: S101 - `run` opens a pipe
        async for line in lines_of(process.stderr, self._limits.longest_line_bytes):
            self._last_lines.append(shown(line))
            logger.debug("the training says", line=shown(line))

    def _outcome(self, out: Path, status: int | None, *, was_stopped: bool) -> TrainingOutcome:
        last = self._last
        if status == _FINISHED and last.get("outcome") == "finished":
            return TrainingOutcome(TrainingEnd.FINISHED, "", out / str(last["artifact"]), str(last["sha256"]))
        if was_stopped or status == _STOPPED:
            return TrainingOutcome(TrainingEnd.STOPPED, str(last.get("reason", "")))
        if last.get("outcome") == "failed":
            return TrainingOutcome(TrainingEnd.FAILED, str(last.get("reason", "")))
        how = f"was ended by {signal.Signals(-status).name}" if status and status < 0 else f"ended with status {status}"
        logger.warning("the training died", how=how, last_words=list(self._last_lines))
        return TrainingOutcome(TrainingEnd.CRASHED, f"the training {how}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the process and its children, and wait for its end."""
    _kill(process)
    await asyncio.shield(process.wait())


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS raises the latter for a group of zombies
        os.killpg(process.pid, signal.SIGKILL)


def event_of(line: bytes | None) -> TrainingEvent | None:
    """The event of a line; None for a line without one."""
    try:
        facts = json.loads(line or b"")
    except ValueError:
        return None
    if not isinstance(facts, dict) or not isinstance(name := facts.pop("event", None), str):
        return None
    return TrainingEvent(name, facts)


def shown(line: bytes | None) -> str:
    """A line for the log."""
    return "(too long)" if line is None else line[:500].decode(errors="replace")
