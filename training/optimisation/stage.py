"""One training from the base to its end, resumed from a checkpoint if there is one."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from training.optimisation.bench import Bench
from training.optimisation.trainer import CheckpointingTrainer
from training.optimisation.watcher import Evaluate, Watcher

Log = Sequence[dict[str, Any]]  # the trainer's log: an entry for each step, and one for each epoch's evaluation


@dataclass(frozen=True, slots=True)
class Stage:
    """A training of a run: its name, trainer, evaluation, and the epoch after which it stops."""

    name: str
    trainer: Callable[[], CheckpointingTrainer]
    evaluate: Evaluate
    stop_after_epochs: int


def train(bench: Bench, stage: Stage) -> CheckpointingTrainer:
    """Train to the end of the stage. Raises Stopped after a checkpoint, and TrainingError."""
    bench.stop.check()
    trainer = stage.trainer()
    checkpoints = bench.checkpoints(stage.name)
    watcher = Watcher(stage.name, bench.progress, bench.stop, stage.evaluate, stop_after_epochs=stage.stop_after_epochs)
    trainer.attach(checkpoints, watcher)
    newest = checkpoints.newest()
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    bench.stop.check()
    return trainer


def log_if_finished(bench: Bench, stage: Stage) -> Log | None:
    """The log of a training whose newest checkpoint is its last, with its evaluation; None otherwise."""
    newest = bench.checkpoints(stage.name).newest()
    if newest is None:
        return None
    state = json.loads((newest / "trainer_state.json").read_text("utf-8"))
    measured = [entry["epoch"] for entry in state["log_history"] if "evaluation" in entry]
    return state["log_history"] if stage.stop_after_epochs in measured else None
