"""Show the progress of a job or training: a bar in a terminal, lines elsewhere, JSON lines for scripts."""

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

from icm.commands.failures import JobEndedBadly
from icm.commands.output import count, on_stderr, write_json, write_line
from icm.documents import Job, Training
from icm.flows import Followed
from service.terminal import visible_line
from service.values import counted

_LINE_SECONDS = 2.0  # between lines at first;
_LINE_SHARE = 0.05  # later this share of the elapsed time, so that logs of long jobs stay short

Observer = Callable[[Job | Training], None]


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


def followed(wait: Callable[..., Followed], which: str, *, quiet: bool = False) -> Followed:
    """The job or training of this id once it has succeeded; shows its progress unless `quiet`. Raises JobEndedBadly.

    `wait` is the client's method for jobs, or that for trainings.
    """
    if quiet:
        ended = wait(which)
    else:
        with shown_progress(as_json=False) as show:
            ended = wait(which, on_change=show)
    if ended.status != "succeeded":
        raise JobEndedBadly(ended)
    return ended


def figures(job: Job | Training) -> str:
    """The known figures: the reason of a pause, utility or loss, acceptance, tokens and time left."""
    return "  ".join(filter(None, (_measures(job), _time_left(job))))


def done(job: Job | Training) -> tuple[int, int, str]:
    """How much is done of how much, and the noun for one of these."""
    if isinstance(job, Training):
        return job.progress.get("step", 0), job.progress.get("steps", 0), "step"
    return job.progress.labeled, job.progress.rows, "row"


def _time_left(job: Job | Training) -> str:
    seconds = job.progress.get("seconds_left") if isinstance(job, Training) else job.progress.eta_seconds
    return "" if seconds is None or job.is_final else f"{seconds:.0f} s left"


def _measures(job: Job | Training) -> str:
    waits = job.status == "paused" and job.error is not None
    reason = [f"waits: {job.error.get('message', job.error.get('code'))}"] if waits and job.error is not None else []
    return "  ".join(reason + (_training_measures(job) if isinstance(job, Training) else _job_measures(job)))


def _training_measures(training: Training) -> list[str]:
    progress = training.progress
    if progress.get("reward") is not None:  # of a policy, whose loss says nothing
        parts = [f"reward {progress['reward']:.2f}", f"KL {progress.get('kl_nats') or 0:.2f} nats"]
    else:
        parts = [] if progress.get("loss") is None else [f"loss {progress['loss']:.3f} nats"]
    if progress.get("tokens_per_second"):
        parts.append(f"{count(round(progress['tokens_per_second']))} tokens/s")
    return parts


def _job_measures(job: Job) -> list[str]:
    progress = job.progress
    parts = [] if progress.utility is None else [f"utility {progress.utility:.2f}"]
    if progress.iterations:
        parts.append(f"accepted {progress.accepted / progress.iterations:.0%}")
    if progress.tokens_sent:
        parts.append(f"tokens {count(progress.tokens_sent)} sent, {count(progress.tokens_computed)} computed")
    return parts


def _name(job: Job | Training) -> str:
    return job.id if isinstance(job, Training) else job.name or job.id


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

    def update(self, job: Job | Training) -> None:
        completed, total, _ = done(job)
        self._progress.update(
            self._task,
            description=visible_line("  ".join(filter(None, (job.status, _measures(job), _name(job))))),
            completed=completed,
            total=total or None,
            left=_time_left(job),
        )


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = ""
        self._started = time.monotonic()
        self._next_line = self._started

    def update(self, job: Job | Training) -> None:
        now = time.monotonic()
        if job.status == self._status and now < self._next_line:
            return
        self._status = job.status
        self._next_line = now + max(_LINE_SECONDS, _LINE_SHARE * (now - self._started))
        completed, total, noun = done(job)
        text = f"{_name(job)} {job.status}  {completed}/{counted(total, noun)}  {figures(job)}"
        write_line(self._console, text.rstrip())
