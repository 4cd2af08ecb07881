"""Start child processes, restart them, and end them together."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

POLL_SECONDS = 0.1
_GRACE_SECONDS = 15.0  # a worker finishes its current step, the API its running requests
_SETTLED_SECONDS = 30.0  # a part that lived longer than this has not failed to start
_FIRST_PAUSE_SECONDS = 0.1  # before a restart; twice as long after each death in a row
_LONGEST_PAUSE_SECONDS = 5.0
_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1
_LOG_PREFIX = re.compile(r"^\S+ \[\w+ *\] ")  # time and level


@dataclass(frozen=True, kw_only=True)
class Part:
    """A program to run. The supervisor stops parts of a later stage before those of an earlier one."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)  # added to our own
    descriptors: tuple[int, ...] = ()  # the part inherits them
    stage: int = 0
    restarts: int = 0  # deaths in a row after which it restarts
    misuse_status: int | None = None  # its exit status for unusable arguments; its last line gives the reason
    restarts_once_ready: int = 0  # the same after `Supervisor.ready`, if it is more


class PartFailed(Exception):
    """A part has ended unexpectedly, or has not done its work; `log` is the end of its log."""

    def __init__(self, name: str, what: str, log: str) -> None:
        super().__init__(f"{name} {what}" + (f"; the end of its log:\n{log}" if log else ""))
        self.name = name
        self.log = log


class PartMisused(PartFailed):
    """A part cannot use its arguments; the text is the part's own message."""

    def __init__(self, name: str, message: str) -> None:
        Exception.__init__(self, message)
        self.name = name
        self.log = message


class _Child:
    """One part, running or waiting for its restart."""

    def __init__(self, part: Part, log_path: Path) -> None:
        self.part = part
        self._log_path = log_path
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        self._deaths = 0
        self._due: float | None = None  # when to restart a dead part
        self.restarts = part.restarts
        self._spawn()

    def _spawn(self) -> None:
        self._started = time.monotonic()
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own programs
                self.part.command,
                env={**os.environ, **self.part.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self.part.descriptors,
                process_group=0,  # a Ctrl-C in the terminal is for us; and we can end its children with it
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one system call, prepared before the fork
            )

    @property
    def is_down(self) -> bool:
        """True between a noticed death and the restart."""
        return self._due is not None

    def revive(self, say: Callable[[str], None]) -> None:
        """Restart the part after a pause if it has died. Raises PartFailed if it died too often in a row."""
        if self._due is not None:
            if time.monotonic() >= self._due:
                self._due = None
                self._spawn()
            return
        status = self.process.poll()
        if status is None:
            return
        self.end_group()
        self.refuse_misuse(status)
        lived_seconds = time.monotonic() - self._started
        self._deaths = 1 if lived_seconds > _SETTLED_SECONDS else self._deaths + 1
        if self._deaths > self.restarts:
            often = f", {self._deaths} times in a row" if self._deaths > 1 else ""
            raise self.failure(_how_it_ended(status) + often)
        pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** (self._deaths - 1), _LONGEST_PAUSE_SECONDS)
        say(f"{self.part.name} {_how_it_ended(status)}; it restarts in {pause:g} s")
        self._due = time.monotonic() + pause

    def refuse_misuse(self, status: int) -> None:
        """Raise PartMisused, with the part's own words, if it ended so because of its arguments."""
        if status == self.part.misuse_status:
            raise PartMisused(self.part.name, _LOG_PREFIX.sub("", self.last_line()).strip())

    def failure(self, what: str) -> PartFailed:
        """Build an error about this part, with the end of its log of this run."""
        return PartFailed(self.part.name, what, "\n".join(self._lines()[-_TAIL_LINES:]))

    def last_line(self) -> str:
        """The last line of its log of this run."""
        return next(iter(self._lines()[-1:]), "")

    def _lines(self) -> list[str]:
        with self._log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace").splitlines()

    def end_group(self) -> None:
        """Kill the part and all its children."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS raises the latter for a group of zombies
            return


class Supervisor:
    """Run parts with a log file each; leaving the context ends all of them.

    `say` gets a line for every death of a part that the supervisor restarts.

    On Linux children die with this process, however it ends. Use the supervisor from the main
    thread: children end with the thread that started them.
    """

    def __init__(
        self,
        log_folder: Path,
        *,
        grace_seconds: float = _GRACE_SECONDS,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._log_folder = log_folder
        self._say = say
        self._grace_seconds = grace_seconds
        self._children: list[_Child] = []

    def __enter__(self) -> Self:
        self._log_folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by part."""
        return {child.part.name: child.process.pid for child in self._children}

    def start(self, part: Part) -> None:
        """Start a part and keep it running."""
        self._children.append(self._child(part))

    def run(self, part: Part, *, timeout_seconds: float) -> None:
        """Run a part to its end. Raises PartFailed unless it ends with status 0 in time, and PartMisused for misuse."""
        child = self._child(part)
        try:
            status = child.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise child.failure(f"has not ended after {timeout_seconds:g} s") from None
        finally:
            child.end_group()
            child.process.wait()
        child.refuse_misuse(status)
        if status != 0:
            raise child.failure(_how_it_ended(status))

    def last_line(self, name: str) -> str:
        """The last line of a part's log, or an empty text. Raises KeyError for an unknown part."""
        return {child.part.name: child for child in self._children}[name].last_line()

    def check(self) -> None:
        """Restart dead parts. Raises PartFailed if a part died too often."""
        for child in self._children:
            child.revive(self._say)

    def ready(self) -> None:
        """Note that every part has started well; from now on `restarts_once_ready` holds."""
        for child in self._children:
            child.restarts = max(child.part.restarts, child.part.restarts_once_ready)

    def stop(self) -> None:
        """End every part, later stages first: by SIGTERM, then by SIGKILL."""
        latest_first = sorted(self._children, key=lambda child: -child.part.stage)
        for _, stage in groupby(latest_first, key=lambda child: child.part.stage):
            self._stop_together([child for child in stage if not child.is_down])
        self._children = []

    def _stop_together(self, children: list[_Child]) -> None:
        deadline = time.monotonic() + self._grace_seconds
        for child in children:
            if child.process.poll() is None:
                child.process.terminate()
        for child in children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
            finally:
                child.end_group()
                child.process.wait()

    def _child(self, part: Part) -> _Child:
        return _Child(part, self._log_folder / f"{part.name}.log")


def _how_it_ended(status: int) -> str:
    return f"ended with status {status}" if status >= 0 else f"was ended by {signal.Signals(-status).name}"


def end_with_parent(how: signal.Signals) -> Callable[[], None] | None:
    """Return a hook for the child (Linux): it asks the kernel to signal the child once its parent has died.

    A change of user would clear the request, so the hook must run after it, as subprocess does.
    """
    if sys.platform != "linux":
        return None
    request, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def ask() -> None:
        request(_PR_SET_PDEATHSIG, int(how), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the request
            os.kill(os.getpid(), signal.SIGKILL)

    return ask
