"""The supervisor with tiny shell scripts as parts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from icm.commands.failures import ExitCode, exit_code
from icm.local_stack.supervisor import Part, PartFailed, PartMisused, Supervisor

FOREVER = "while :; do sleep 0.05; done"


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(tmp_path / "logs", grace_seconds=5) as running:
        yield running


def part(script: str, **fields: object) -> Part:
    return Part(**{"name": "part", "command": ("/bin/sh", "-c", script), **fields})  # type: ignore[arg-type]  # free fields


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def failure_of(supervisor: Supervisor) -> PartFailed:
    """Wait until a part has failed for good."""
    with pytest.raises(PartFailed) as caught:
        check_again_and_again(supervisor)
    return caught.value


def check_again_and_again(supervisor: Supervisor, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        supervisor.check()
        time.sleep(0.02)


def test_a_part_that_refuses_its_settings_is_reported_by_its_last_line_alone(supervisor: Supervisor) -> None:
    script = "echo loading; echo '2026-11-29T20:16:42Z [error    ] there is no such model'; exit 3"
    supervisor.start(part(script, misuse_status=3, restarts=3))
    failure = failure_of(supervisor)
    assert isinstance(failure, PartMisused)
    assert str(failure) == "there is no such model"
    assert exit_code(failure) is ExitCode.USAGE


def test_a_part_that_dies_is_reported_with_the_end_of_its_log(supervisor: Supervisor) -> None:
    supervisor.start(part("echo no disk >&2; exit 3", name="database"))
    failure = failure_of(supervisor)
    assert failure.name == "database"
    assert "ended with status 3" in str(failure)
    assert failure.log == "no disk"


def test_what_a_part_wrote_last_can_be_read(supervisor: Supervisor) -> None:
    supervisor.start(part(f"echo loading; echo converting >&2; {FOREVER}"))
    until(lambda: supervisor.last_line("part") == "converting")
    supervisor.start(part(FOREVER, name="silent"))
    assert supervisor.last_line("silent") == ""
    with pytest.raises(KeyError):
        supervisor.last_line("absent")


def test_only_lines_of_this_run_are_shown(supervisor: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "logs" / "part.log").write_text("yesterday\n")
    with pytest.raises(PartFailed) as caught:
        supervisor.run(part("echo today; exit 1"), timeout_seconds=20)
    assert caught.value.log == "today"


def test_a_part_killed_by_a_signal_says_which(supervisor: Supervisor) -> None:
    with pytest.raises(PartFailed, match="SIGKILL"):
        supervisor.run(part("kill -9 $$"), timeout_seconds=20)


def test_a_part_is_started_again_as_often_as_allowed(supervisor: Supervisor, tmp_path: Path) -> None:
    count = tmp_path / "count"
    supervisor.start(part(f"echo once >> {count}; exit 1", restarts=2))
    failure_of(supervisor)
    assert count.read_text().splitlines() == ["once"] * 3


def test_a_part_that_was_ready_is_started_again_more_often_and_that_is_said(tmp_path: Path) -> None:
    count, said = tmp_path / "count", list[str]()
    with Supervisor(tmp_path / "logs", say=said.append) as running:
        running.start(part(f"echo once >> {count}; kill -9 $$", name="inference", restarts_once_ready=3))
        running.ready()
        failure = failure_of(running)
    assert count.read_text().splitlines() == ["once"] * 4
    assert str(failure).startswith("inference was ended by SIGKILL, 4 times in a row")
    assert said == [f"inference was ended by SIGKILL; it restarts in {pause} s" for pause in (0.1, 0.2, 0.4)]


def test_a_part_that_was_never_ready_is_not_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    count = tmp_path / "count"
    supervisor.start(part(f"echo once >> {count}; exit 1", restarts_once_ready=3))
    failure_of(supervisor)
    assert count.read_text().splitlines() == ["once"]


def test_other_parts_are_supervised_while_one_waits_for_its_restart(tmp_path: Path) -> None:
    with Supervisor(tmp_path / "logs") as running:
        running.start(part("exit 1", name="dying", restarts=1_000))
        running.start(part(FOREVER, name="killed", restarts=1))
        until(lambda: checked(running) and running.pids["dying"] > 0)
        killed = running.pids["killed"]
        os.kill(killed, signal.SIGKILL)
        until(lambda: checked(running) and running.pids["killed"] != killed)


def checked(running: Supervisor) -> bool:
    running.check()
    return True


def test_a_part_that_runs_to_its_end_well_is_no_failure(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.run(part(f"echo $GREETING > {tmp_path}/said", environment={"GREETING": "hello"}), timeout_seconds=20)
    assert (tmp_path / "said").read_text() == "hello\n"


def test_a_part_that_does_not_come_to_its_end_is_killed(supervisor: Supervisor) -> None:
    with pytest.raises(PartFailed, match="has not ended after"):
        supervisor.run(part(FOREVER), timeout_seconds=0.2)


def test_later_stages_are_stopped_before_earlier_ones(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with Supervisor(tmp_path / "logs") as running:
        for number, name in enumerate(("base", "top")):
            script = f"trap 'echo {name} >> {told}; exit 0' TERM; echo ready; {FOREVER}"
            running.start(part(script, name=name, stage=number))
        logs = [tmp_path / "logs" / f"{name}.log" for name in ("base", "top")]
        until(lambda: all(log.read_text() for log in logs))
    assert told.read_text().split() == ["top", "base"]


def test_a_part_that_will_not_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    with Supervisor(tmp_path / "logs", grace_seconds=0.2) as running:
        running.start(part(f"trap '' TERM; (trap '' TERM; {FOREVER}) & echo $! > {child}; {FOREVER}"))
        until(lambda: child.exists() and child.read_text().endswith("\n"))
        pids = [running.pids["part"], int(child.read_text())]
    until(lambda: not any(is_alive(pid) for pid in pids))


if sys.platform == "linux":  # which alone tells children of their parent's death

    def test_parts_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
        script = (
            "import sys, time; from pathlib import Path; from icm.local_stack.supervisor import Part, Supervisor\n"
            f"s = Supervisor(Path({str(tmp_path)!r})); s.__enter__()\n"
            f"s.start(Part(name='part', command=('/bin/sh', '-c', {FOREVER!r})))\n"
            "print(s.pids['part'], flush=True); time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as supervising:
            assert supervising.stdout is not None
            pid = int(supervising.stdout.readline())
            assert is_alive(pid)
            os.kill(supervising.pid, signal.SIGKILL)
        until(lambda: not is_alive(pid))
