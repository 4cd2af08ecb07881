"""`python -m training` as a user starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.running import REACHED_OUT
from tests.training.written import reward_spec
from training.command import read_arguments

pytestmark = pytest.mark.timeout(300)  # processes are loaded, which takes long where many are

WATCHED = f"""
import runpy, sys

def watch(event, given):
    if event in {REACHED_OUT!r}:
        sys.__stderr__.write(f"reached out: {{event}} {{given}}\\n")
        raise ConnectionError(event)

sys.addaudithook(watch)
runpy.run_module("training", run_name="__main__", alter_sys=True)
"""
ONLINE = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "CI")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run in an environment without restrictions: the command sets its own."""
    environment = {name: value for name, value in os.environ.items() if name not in ONLINE}
    command = [sys.executable, "-c", WATCHED, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)


def test_from_loading_the_libraries_to_the_end_nothing_reaches_out(tmp_path: Path) -> None:
    """A reward model, since TRL would tell its makers of it."""
    spec = reward_spec(tmp_path, epochs=1)
    ended = run("run", str(spec), "--out", str(tmp_path / "out"))
    assert ended.returncode == 0, ended.stderr
    assert "reached out" not in ended.stderr
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (events[0]["event"], events[-1]["outcome"]) == ("rows", "finished")


@pytest.mark.parametrize(
    "arguments", [[], ["run"], ["run", "spec.json"], ["run", "spec.json", "--out", "out", "--threads", "0"]]
)
def test_a_mistake_on_the_command_line_is_reported(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_arguments(arguments)
    assert ended.value.code == 2
    assert "usage: python -m training" in capsys.readouterr().err
