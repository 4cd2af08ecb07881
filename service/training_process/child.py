"""Runs `python -m training` as a child and tells what it tells (docs/training.md)."""

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
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
TRAINING = (sys.executable, "-P", "-m", "training")  # -P keeps folders of that name where we were started out of it
_FINISHED, _IN_USE, _STOPPED = 0, 4, 75  # statuses of the command
# What the environment's names begin with that is not for the child: settings, the database, object stores, the hub.
_SECRET = ("ICM_", "DATABASE_URL", "PGPASS", "POSTGRES_", "AWS_", "AZURE_", "GOOGLE_", "HF_TOKEN")
_TAIL_LINES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildLimits:
    """How long a child is waited for, and how much it may say at once."""

    grace_seconds: float = 5.0  # to save and end, once told to; then it is killed, and loses steps since its checkpoint
    taken_seconds: float = 1.0  # between two looks at a folder that another process trains in
    longest_line_bytes: int = 1_000_000


def write_examples(folder: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write the rows of a training into its folder, whole or not at all; how many."""
    count = 0
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / f".{EXAMPLES}.partial"
    with staged.open("w", encoding="utf-8") as file:
        for count, row in enumerate(rows, 1):  # noqa: B007 - counted
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    staged.replace(folder / EXAMPLES)
    return count


class TrainingChild:
    """One training in a folder of its own, which has its rows already (`write_examples`).

    `spec` is the specification without `examples`. Whatever was done in the folder before is not done again.
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
        """Where the command leaves what it made: the artifact, `manifest.json`, `report.json`."""
        return self._folder / OUT

    async def run(self, on_event: OnEvent, stop: asyncio.Event) -> TrainingOutcome:
        """Train until the end, or until `stop` is set; every event is awaited, and what it raises ends the training.

        Use it from the main thread: the child ends with the thread that started it (Linux).
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        staged = self._folder / f".{SPEC}.partial"
        staged.write_text(json.dumps({**self._spec, "examples": EXAMPLES}, ensure_ascii=False), "utf-8")
        staged.replace(self._folder / SPEC)
        while not stop.is_set():
            turn = _Turn(self._limits, on_event)
            outcome = await turn.run(self._command, self.out, stop)
            if turn.status != _IN_USE:
                return outcome
            logger.info("another process still trains in the folder", folder=str(self._folder))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._limits.taken_seconds)
        return TrainingOutcome(TrainingEnd.STOPPED)


class _Protocol(asyncio.subprocess.SubprocessStreamProtocol):
    """Says when the process has exited; `Process.wait` waits as well for whatever holds its output open."""

    def __init__(self) -> None:
        super().__init__(limit=65_536, loop=asyncio.get_running_loop())
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        """Called by the event loop."""
        super().process_exited()
        self.exited.set()


class _Turn:
    """One process from its start to its end."""

    def __init__(self, limits: ChildLimits, on_event: OnEvent) -> None:
        self._limits = limits
        self._on_event = on_event
        self._last: Mapping[str, Any] = {}
        self._said: deque[str] = deque(maxlen=_TAIL_LINES)
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
            env={name: value for name, value in os.environ.items() if not name.startswith(_SECRET)},
            process_group=0,  # what it starts can be ended with it
        )
        process = asyncio.subprocess.Process(transport, protocol, loop)
        try:
            await self._follow(process, protocol.exited, stop)
        finally:
            await _end(process)
        self.status = process.returncode
        return self._outcome(out, process.returncode, was_stopped=stop.is_set())

    async def _follow(self, process: asyncio.subprocess.Process, exited: asyncio.Event, stop: asyncio.Event) -> None:
        """Until it has ended and everything it wrote is told."""
        reading = asyncio.create_task(self._read(process))
        ending = asyncio.create_task(exited.wait())
        stopping = asyncio.create_task(self._stop(process, stop))
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                _kill(process)  # what it started may hold its output open
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
        words = asyncio.create_task(self._read_words(process))
        try:
            await self._read_events(process)
            await words
        finally:
            words.cancel()

    async def _read_events(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        async for line in lines_of(process.stdout, self._limits.longest_line_bytes):
            event = _event(line)
            if event is None:
                logger.warning("the training wrote something that is no event", line=_shown(line))
                continue
            if event.name == "end":
                self._last = event.facts
            await self._on_event(event)

    async def _read_words(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None  # noqa: S101 - it was asked for
        async for line in lines_of(process.stderr, self._limits.longest_line_bytes):
            self._said.append(_shown(line))
            logger.debug("the training says", line=_shown(line))

    def _outcome(self, out: Path, status: int | None, *, was_stopped: bool) -> TrainingOutcome:
        last = self._last
        if status == _FINISHED and last.get("outcome") == "finished":
            return TrainingOutcome(TrainingEnd.FINISHED, "", out / str(last["artifact"]), str(last["sha256"]))
        if was_stopped or status == _STOPPED:
            return TrainingOutcome(TrainingEnd.STOPPED, str(last.get("reason", "")))
        if last.get("outcome") == "failed":
            return TrainingOutcome(TrainingEnd.FAILED, str(last.get("reason", "")))
        how = f"was ended by {signal.Signals(-status).name}" if status and status < 0 else f"ended with status {status}"
        logger.warning("the training died", how=how, last_words=list(self._said))
        return TrainingOutcome(TrainingEnd.CRASHED, f"the training {how}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Whatever happened, nothing of it runs on."""
    _kill(process)
    await asyncio.shield(process.wait())


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(process.pid, signal.SIGKILL)


def _event(line: bytes | None) -> TrainingEvent | None:
    try:
        facts = json.loads(line or b"")
    except ValueError:
        return None
    if not isinstance(facts, dict) or not isinstance(name := facts.pop("event", None), str):
        return None
    return TrainingEvent(name, facts)


def _shown(line: bytes | None) -> str:
    return "(too long)" if line is None else line[:500].decode(errors="replace")
