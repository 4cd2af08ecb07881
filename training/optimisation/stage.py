"""One training from the base to its end, resumed from a checkpoint if there is one."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from training.optimisation.bench import Bench
from training.optimisation.trainer import CheckpointingTrainer
from training.optimisation.watcher import NO_EXTRAS, EndedEarly, Evaluate, Extras, Log, Watcher


@dataclass(frozen=True, slots=True)
class Stage:
    """A training of a run: its name, trainer, evaluation, and the epoch after which it stops."""

    name: str
    trainer: Callable[[], CheckpointingTrainer]
    evaluate: Evaluate
    stop_after_epochs: int
    extras: Extras = NO_EXTRAS


def train(bench: Bench, stage: Stage) -> CheckpointingTrainer:
    """Train to the end of the stage. Raises Stopped after a checkpoint, and TrainingError."""
    bench.stop.check()
    trainer = stage.trainer()
    checkpoints = bench.checkpoints(stage.name)
    watcher = Watcher(
        stage.name,
        bench.progress,
        bench.stop,
        stage.evaluate,
        stop_after_epochs=stage.stop_after_epochs,
        extras=stage.extras,
    )
    trainer.attach(checkpoints, watcher)
    newest = checkpoints.newest()
    with suppress(EndedEarly):
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)
    bench.stop.check()
    return trainer


def log_if_finished(bench: Bench, stage: Stage) -> Log | None:
    """The log of a training whose newest checkpoint is its last, with its evaluation; None otherwise."""
    newest = bench.checkpoints(stage.name).newest()
    if newest is None:
        return None
    state = json.loads((newest / "trainer_state.json").read_text("utf-8"))
    log: Log = state["log_history"]
    measured = [entry["epoch"] for entry in log if "evaluation" in entry]
    ended = stage.stop_after_epochs in measured or any("ended_early" in entry for entry in log)
    return log if ended else None
