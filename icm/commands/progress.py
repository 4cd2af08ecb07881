"""Show the progress of a job: a bar in a terminal, lines elsewhere, JSON lines for scripts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from icm.commands.output import count, on_stderr, write_json, write_line
from icm.documents import Job
from service.terminal import visible_line

_LINE_SECONDS = 2.0  # between lines at first;
_LINE_SHARE = 0.05  # later this share of the elapsed time, so that logs of long jobs stay short

Observer = Callable[[Job], None]


@contextmanager
def shown_progress(*, as_json: bool, console: Console | None = None) -> Iterator[Observer]:
    """Yield an observer that shows every change of a job."""
    console = console or on_stderr()
    if as_json:
        yield lambda job: write_json(job.document)
    elif console.is_terminal:
        with _Bar(console) as bar:
            yield bar.update
    else:
        yield _Lines(console).update


def figures(job: Job) -> str:
    """The known figures of a job: the reason of a pause, utility, acceptance, tokens and time left."""
    return "  ".join(filter(None, (_measures(job), _time_left(job))))


def _time_left(job: Job) -> str:
    seconds = job.progress.eta_seconds
    return "" if seconds is None or job.is_final else f"{seconds:.0f} s left"


def _measures(job: Job) -> str:
    progress = job.progress
    parts = [] if progress.utility is None else [f"utility {progress.utility:.2f}"]
    if job.status == "paused" and job.error is not None:
        parts.insert(0, f"waits: {job.error.get('message', job.error.get('code'))}")
    if progress.iterations:
        parts.append(f"accepted {progress.accepted / progress.iterations:.0%}")
    if progress.tokens_sent:
        parts.append(f"tokens {count(progress.tokens_sent)} sent, {count(progress.tokens_computed)} computed")
    return "  ".join(parts)


class _Rest(ProgressColumn):
    """The text behind the bar, shortened to the room that the columns before it leave."""

    def render(self, task: Task) -> Text:
        """One line, however narrow."""
        return Text(task.description, no_wrap=True, overflow="ellipsis")


class _Bar:
    def __init__(self, console: Console) -> None:
        left = TextColumn("{task.fields[left]}", markup=False)
        columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), left, _Rest())
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task("", total=None, left="", start=True)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, job: Job) -> None:
        self._progress.update(
            self._task,
            description=visible_line("  ".join(filter(None, (job.status, _measures(job), job.name or job.id)))),
            completed=job.progress.labeled,
            total=job.progress.rows or None,
            left=_time_left(job),
        )


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = ""
        self._started = time.monotonic()
        self._next_line = self._started

    def update(self, job: Job) -> None:
        now = time.monotonic()
        if job.status == self._status and now < self._next_line:
            return
        self._status = job.status
        self._next_line = now + max(_LINE_SECONDS, _LINE_SHARE * (now - self._started))
        text = f"{job.name or job.id} {job.status}  {job.progress.labeled}/{job.progress.rows} rows  {figures(job)}"
        write_line(self._console, text.rstrip())
