"""A training that cannot continue says why, in a report to its supervisor and by its exit status."""

import errno
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import TrainerControl, TrainerState, TrainingArguments

from inference.settings import SMALL_MODEL
from tests.training.running import refused
from tests.training.written import write_spec
from training import command
from training.errors import Stopped, TrainingError
from training.optimisation.watcher import Watcher
from training.progress import Progress
from training.supervision import StopRequest


def test_an_output_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    spec = write_spec(tmp_path)
    status, end = refused(spec, spec)
    assert status == 2
    assert end["reason"].startswith("--out: ")
    assert "cannot be written: file exists" in end["reason"]


def test_a_base_that_lacks_weights_is_refused_rather_than_filled_at_random(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(SMALL_MODEL, base)
    weights = load_file(base / "model.safetensors")
    lost = next(name for name in weights if "q_proj" in name)
    save_file(
        {name: tensor for name, tensor in weights.items() if name != lost}, base / "model.safetensors", {"format": "pt"}
    )
    out = io.StringIO()
    arguments = ["run", str(write_spec(tmp_path, base=str(base))), "--out", str(tmp_path / "out")]
    assert command.main(Progress(out), StopRequest(), arguments) == 3
    assert f"lacks weights of its architecture, {lost}" in json.loads(out.getvalue().splitlines()[-1])["reason"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "memory does not suffice: set rows_at_once"),
        (RuntimeError("what nobody\nthought of"), "unexpected: what nobody thought of"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full: free some room"),
        (
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
            "the disk is full",
        ),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "the disk is full"),
        (OSError(errno.EIO, "Input/output error"), "unexpected: [Errno 5] Input/output error"),
    ],
)
def test_every_end_is_reported(error: Exception, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(command, "run", fail)
    status, end = refused(tmp_path / "spec.json", tmp_path / "out")
    assert status == 1
    assert (end["outcome"], end["status"]) == ("failed", 1)
    assert reason in end["reason"]


def watcher(stop: StopRequest, evaluate: Any) -> tuple[Watcher, io.StringIO]:
    out = io.StringIO()
    return Watcher("training", Progress(out), stop, evaluate, stop_after_epochs=2), out


def state_at(step: int) -> TrainerState:
    entry = {"loss": 1.0, "learning_rate": 0.1, "step": step}
    return TrainerState(global_step=step, max_steps=8, num_train_epochs=2, epoch=step / 4, log_history=[entry])


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    watching, _ = watcher(StopRequest(), lambda _: {})
    with pytest.raises(TrainingError, match="the loss of step 3 is no number any more: take a lower learning_rate"):
        watching.on_log(None, state_at(3), TrainerControl(), {"loss": float("nan")})  # type: ignore[arg-type]  # not read


def test_a_measurement_that_a_stop_prevented_is_made_later() -> None:
    """Otherwise curves would depend on when a training was stopped."""
    stop = StopRequest()

    def interrupted(_: Any) -> dict[str, Any]:
        raise Stopped

    state = state_at(4)
    watching, _ = watcher(stop, interrupted)
    watching.on_log(None, state, TrainerControl(), dict(state.log_history[0]), model=None)  # type: ignore[arg-type]  # not read
    assert not any("evaluation" in entry for entry in state.log_history)
    later, told = watcher(stop, lambda _: {"held_out": 1})
    arguments = TrainingArguments.__new__(TrainingArguments)
    later.on_train_begin(arguments, state, TrainerControl(), model=None)
    assert state.log_history[-1] == {"step": 4, "epoch": 1.0, "evaluation": {"held_out": 1}}
    assert [json.loads(line)["event"] for line in told.getvalue().splitlines()] == ["start", "evaluation"]
    later.on_train_begin(arguments, state, TrainerControl(), model=None)
    assert len(state.log_history) == 2
