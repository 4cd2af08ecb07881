"""A training as a child process: its messages and its end are reported, and no process of it is left."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import structlog

from service.records.trainings import TrainingEnd, TrainingEvent, TrainingOutcome
from service.training_process import tied
from service.training_process.child import ChildLimits, TrainingChild
from service.training_process.trained_files import write_rows

PROGRAM = (sys.executable, "-S", str(Path(__file__).with_name("pretender.py")))
LIMITS = ChildLimits(grace_seconds=0.2, locked_poll_seconds=0.01, longest_line_bytes=1000)


class Heard:
    """Events as they come; sets `stop` at the first one of a name."""

    def __init__(self, stop_at: str = "") -> None:
        self.events: list[TrainingEvent] = []
        self.stop = asyncio.Event()
        self._stop_at = stop_at

    async def __call__(self, event: TrainingEvent) -> None:
        self.events.append(event)
        if event.name == self._stop_at:
            self.stop.set()

    def pid(self) -> int:
        """The last one that was reported."""
        return int(next(event.facts["pid"] for event in reversed(self.events) if "pid" in event.facts))


async def ran(folder: Path, heard: Heard, *steps: str) -> TrainingOutcome:
    child = TrainingChild(folder, {"base": "\n".join(steps)}, limits=LIMITS, program=PROGRAM)
    return await child.run(heard, heard.stop)


async def has_ended(pid: int) -> bool:
    """Whether the process ends in time; a signal to kill takes the system a moment."""
    async with asyncio.timeout(10.0):
        while is_running(pid):  # noqa: ASYNC110 - the system tells nobody else
            await asyncio.sleep(0.01)
    return True


def is_running(pid: int) -> bool:
    """A killed process may be left as a zombie by the process that adopted it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_events_are_passed_on_in_order_and_the_artifact_is_returned(tmp_path: Path) -> None:
    heard = Heard()
    outcome = await ran(tmp_path, heard, "tell 0.5", "tell 0.25", "finish")
    assert [event.facts.get("loss") for event in heard.events] == [0.5, 0.25, None]
    assert outcome == TrainingOutcome(TrainingEnd.FINISHED, "", tmp_path / "out" / "adapter", "abc")
    assert json.loads((tmp_path / "SPEC.json").read_text("utf-8"))["examples"] == "examples.jsonl"


async def test_lines_that_are_no_events_or_too_long_are_passed_over(tmp_path: Path) -> None:
    heard = Heard()
    steps = ("write Loading weights", "write [1, 2]", "long 200000", 'write {"event": 3}', "tell 1", "finish")
    outcome = await ran(tmp_path, heard, *steps)
    assert [event.name for event in heard.events] == ["step", "end"]
    assert outcome.end is TrainingEnd.FINISHED


async def test_a_stopped_child_reports_that_it_stopped(tmp_path: Path) -> None:
    heard = Heard(stop_at="waiting")
    outcome = await ran(tmp_path, heard, "polite", "wait")
    assert outcome == TrainingOutcome(TrainingEnd.STOPPED, "told to stop")


async def test_a_child_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    heard = Heard(stop_at="waiting")
    outcome = await ran(tmp_path, heard, "deaf", "wait")
    assert outcome.end is TrainingEnd.STOPPED
    assert await has_ended(heard.pid())


async def test_a_child_stopped_before_its_start_is_not_started(tmp_path: Path) -> None:
    heard = Heard()
    heard.stop.set()
    assert (await ran(tmp_path, heard, "finish")).end is TrainingEnd.STOPPED
    assert heard.events == []


@pytest.mark.parametrize("status", [1, 2, 3])
async def test_a_refused_training_fails_with_its_reason(tmp_path: Path, status: int) -> None:
    outcome = await ran(tmp_path, Heard(), f"fail {status}")
    assert outcome == TrainingOutcome(TrainingEnd.FAILED, "rank: must be greater")


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (f"die {int(signal.SIGKILL)}", "the training was ended by SIGKILL"),
        ("quit 9", "the training ended with status 9"),
        ("quit 0", "the training ended with status 0"),
    ],
)
async def test_a_child_that_dies_silently_has_crashed(tmp_path: Path, step: str, reason: str) -> None:
    with structlog.testing.capture_logs() as logs:
        outcome = await ran(tmp_path, Heard(), "say last words", step)
    assert outcome == TrainingOutcome(TrainingEnd.CRASHED, reason)
    assert [entry["last_words"] for entry in logs if entry["event"] == "the training died"] == [["last words"]]


async def test_a_child_waits_while_another_process_trains_in_the_folder(tmp_path: Path) -> None:
    heard = Heard()
    assert (await ran(tmp_path, heard, "taken", "finish")).end is TrainingEnd.FINISHED
    assert [event.facts["outcome"] for event in heard.events] == ["failed", "finished"]


async def test_grandchildren_end_with_the_child(tmp_path: Path) -> None:
    heard = Heard()
    assert (await ran(tmp_path, heard, "leave", "finish")).end is TrainingEnd.FINISHED
    assert await has_ended(heard.pid())


async def test_an_error_of_the_listener_ends_the_child(tmp_path: Path) -> None:
    pids = []

    async def refuse(event: TrainingEvent) -> None:
        pids.append(event.facts["pid"])
        raise RuntimeError("no more")

    child = TrainingChild(tmp_path, {"base": "deaf\nwait"}, limits=LIMITS, program=PROGRAM)
    with pytest.raises(RuntimeError, match="no more"):
        await child.run(refuse, asyncio.Event())
    assert await has_ended(pids[0])


async def test_cancelling_the_supervisor_kills_the_child(tmp_path: Path) -> None:
    heard = Heard(stop_at="waiting")
    child = TrainingChild(tmp_path, {"base": "deaf\nwait"}, limits=LIMITS, program=PROGRAM)
    task = asyncio.create_task(child.run(heard, asyncio.Event()))
    await heard.stop.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await has_ended(heard.pid())


async def test_the_child_sees_no_setting_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"ICM_DATABASE_URL", "DATABASE_URL", "ICM_BACKENDS", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"}
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    heard = Heard()
    await ran(tmp_path, heard, "environment", "finish")
    names = heard.events[0].facts["names"]
    assert "PATH" in names
    assert not secrets & set(names)


if sys.platform == "linux":  # which alone tells children of their parent's death

    async def test_a_child_does_not_outlive_a_killed_parent() -> None:
        child = f"{tied.__file__!r}, str(os.getpid()), sys.executable, '-S', '-c', 'import time; time.sleep(60)'"
        script = (
            f"import os, subprocess, sys; child = subprocess.Popen([sys.executable, {child}]);"
            "print(child.pid, flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-S", "-c", script]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as parent:  # noqa: ASYNC220 - it waits too
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            while psutil.Process(pid).cmdline()[1:2] != ["-S"]:
                os.sched_yield()
            parent.kill()
        assert await has_ended(pid)


def test_rows_are_written_whole(tmp_path: Path) -> None:
    rows = [{"prompt": "a\nb\u2028", "label": "ja"}, {"prompt": "c", "label": "nein"}]
    write_rows(tmp_path / "new", rows, [])
    lines = (tmp_path / "new" / "examples.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line) for line in lines[:-1]] == rows
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["examples.jsonl", "questions.jsonl"]
