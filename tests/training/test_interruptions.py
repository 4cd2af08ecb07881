"""Stopped or killed at any moment, a training ends with the bytes of an uninterrupted one."""

import json
import signal
import subprocess
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random

import pytest

from tests.long import LONG
from tests.training.conftest import Finished
from tests.training.running import Training, run, start
from tests.training.test_run import adapter_bytes, read
from tests.training.written import write_spec

pytestmark = pytest.mark.timeout(300)  # processes are loaded, which takes long where many are

KILLS = 20 if LONG else 3


def ended_at(forks: ForkServerContext, spec: Path, out: Path, step: int, number: int) -> Training:
    """Started, and sent a signal once it reported a step."""
    training = start(forks, spec, out)
    training.wait_for("step", step)
    assert training.process.pid is not None
    if number == signal.SIGKILL:
        training.process.kill()
    else:
        training.process.terminate()
    training.wait()
    return training


def killed_at(forks: ForkServerContext, spec: Path, out: Path, step: int, seconds: float) -> Training:
    """Started, and killed the time after it reported a step; step 0 is its start."""
    training = start(forks, spec, out)
    training.wait_for("step", step)
    training.process.join(seconds)
    training.process.kill()
    training.wait()
    return training


def test_a_stopped_training_saves_and_resumes_to_the_same_bytes(
    finished: Finished, forks: ForkServerContext, tmp_path: Path
) -> None:
    spec, out = write_spec(tmp_path, checkpoint_steps=50), tmp_path / "out"
    stopped = ended_at(forks, spec, out, 3, signal.SIGTERM)
    assert stopped.wait() == 75
    assert stopped.events("end")[0]["outcome"] == "stopped"
    [saved] = [event["step"] for event in stopped.events("checkpoint")]
    assert saved == stopped.events("step")[-1]["step"]
    status, training = run(forks, spec, out)
    assert status == 0
    assert training.events("start")[0]["step"] == saved
    assert training.events("step")[0]["step"] == saved + 1
    assert adapter_bytes(out) == adapter_bytes(finished.out)
    ours, theirs = (read(folder / "report.json")["training"] for folder in (out, finished.out))
    assert ours["loss"] == theirs["loss"]
    assert ours["epochs"] == theirs["epochs"]
    assert ours["tokens"] == theirs["tokens"]


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))])
def test_a_training_killed_at_any_moment_resumes_to_the_same_bytes(
    seed: int, finished: Finished, forks: ForkServerContext, tmp_path: Path
) -> None:
    """A training that ends between two kills is compared, and the next one is killed."""
    rng, kills, resumed = Random(seed), 0, 0
    for place in range(KILLS):
        spec, out = write_spec(tmp_path / str(place)), tmp_path / str(place) / "out"
        while kills < KILLS and not (out / "manifest.json").exists():
            killed = killed_at(forks, spec, out, rng.randrange(5), rng.uniform(0.0, 0.1))
            kills += killed.process.exitcode == -signal.SIGKILL
            resumed += any(event["step"] for event in killed.events("start"))
        status, _ = run(forks, spec, out)
        assert status == 0
        assert adapter_bytes(out) == adapter_bytes(finished.out)
        if kills == KILLS:
            break
    assert kills == KILLS
    assert resumed or not LONG, "checkpoints were used"


@pytest.mark.parametrize("part", [pytest.param("before.json", marks=pytest.mark.long), "training.json"])
def test_a_training_killed_between_two_parts_resumes(
    part: str, finished: Finished, forks: ForkServerContext, tmp_path: Path
) -> None:
    spec, out = write_spec(tmp_path, controls=["inverted"]), tmp_path / "out"
    training = start(forks, spec, out)
    while not (out / "parts" / part).exists() and training.process.exitcode is None:
        training.process.join(0.002)
    training.process.kill()
    training.wait()
    status, training = run(forks, spec, out)
    assert status == 0
    assert adapter_bytes(out) == adapter_bytes(finished.out)


def start_two(spec: Path, out: Path) -> subprocess.Popen[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training"]
    command = [sys.executable, *launcher, "run", str(spec), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.long
def test_two_processes_of_one_training_stop_after_the_same_step_and_resume(tmp_path: Path) -> None:
    spec = write_spec(tmp_path)
    with start_two(spec, tmp_path / "whole") as whole:
        told, _ = whole.communicate()
    assert json.loads(told.splitlines()[-1])["outcome"] == "finished"
    with start_two(spec, tmp_path / "stopped") as stopped:
        assert stopped.stdout is not None
        for line in stopped.stdout:
            if json.loads(line).get("step") == 3:
                stopped.terminate()
        last = json.loads(line)
    assert (last["outcome"], last["status"]) == ("stopped", 75)
    with start_two(spec, tmp_path / "stopped") as resumed:
        told, _ = resumed.communicate()
    starts = [event for event in map(json.loads, told.splitlines()) if event["event"] == "start"]
    assert starts[0]["step"] >= 3
    assert adapter_bytes(tmp_path / "stopped") == adapter_bytes(tmp_path / "whole")
