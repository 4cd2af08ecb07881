"""Watch a training step by step: report progress, evaluate at the end of each epoch, stop on request."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.errors import Stopped, TrainingError
from training.progress import Progress
from training.supervision import StopRequest

Log = Sequence[dict[str, Any]]  # the trainer's: an entry for each step, and one for each epoch's measurement
Evaluate = Callable[[Any], dict[str, Any]]  # of the language model as it is


class EndedEarly(Exception):
    """A rule has already ended the training that this process resumed."""


@dataclass(frozen=True, slots=True)
class Extras:
    """The additions of a kind of training to the common loop.

    Progress events include the `figures` of each step. `keep` gets the language model and the number of an epoch,
    before its evaluation. `ends_early` reads the log after each step; it returns the reason to stop, or None. `chosen`
    reads the log of the whole training and returns the saved adapter to publish; `after` evaluates the published one.
    """

    figures: Sequence[str] = ()
    keep: Callable[[Any, int], None] = lambda _module, _epoch: None
    ends_early: Callable[[Log], str | None] = lambda _log: None
    chosen: Callable[[Log], Path] | None = None
    after: Callable[[], dict[str, Any]] | None = None


NO_EXTRAS = Extras()


class Watcher(TrainerCallback):
    """A callback for each training. Checkpoints include its log entries, so that curves survive restarts."""

    def __init__(
        self,
        stage: str,
        progress: Progress,
        stop: StopRequest,
        evaluate: Evaluate,
        *,
        stop_after_epochs: int,
        extras: Extras = NO_EXTRAS,
    ) -> None:
        self._stage = stage
        self._progress = progress
        self._stop = stop
        self._evaluate = evaluate
        self._epochs = stop_after_epochs
        self._extras = extras
        self._seconds = self._cpu_seconds = 0.0  # before this process began
        self._began = self._cpu_began = 0.0
        self._first_step = self._first_tokens = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Resume the clock, and repeat an evaluation that a stop prevented."""
        self._began, self._cpu_began = time.monotonic(), time.process_time()
        self._first_step, self._first_tokens = state.global_step, int(state.num_input_tokens_seen)
        last = next((entry for entry in reversed(state.log_history) if "seconds" in entry), {})
        self._seconds, self._cpu_seconds = last.get("seconds", 0.0), last.get("cpu_seconds", 0.0)
        self._progress.tell(
            "start", stage=self._stage, step=state.global_step, steps=self._last_step(state), epochs=self._epochs
        )
        if self._ends_epoch(state) and state.log_history[-1].get("evaluation") is None:
            self._measure(state, others["model"])
            if self._ends_early(state):
                raise EndedEarly

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Save and stop if somebody has requested it."""
        if state.global_step >= self._last_step(state):
            control.should_save = control.should_training_stop = True
        if self._must_stop(args.device):
            control.should_save = control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **others: Any,
    ) -> None:
        """Report a step and evaluate after an epoch's last. Raises TrainingError if the loss is not a number."""
        if logs is None or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"the loss of step {state.global_step} is no number any more: take a lower learning_rate, "
                "in another folder"
            )
        elapsed = time.monotonic() - self._began
        state.log_history[-1]["seconds"] = self._seconds + elapsed
        state.log_history[-1]["cpu_seconds"] = self._cpu_seconds + time.process_time() - self._cpu_began
        done, left = state.global_step - self._first_step, self._last_step(state) - state.global_step
        self._progress.tell(
            "step",
            stage=self._stage,
            step=state.global_step,
            steps=self._last_step(state),
            epoch=round(state.epoch or 0.0, 4),
            loss=logs["loss"],
            learning_rate=logs["learning_rate"],
            **{name: logs[name] for name in self._extras.figures},
            tokens_per_second=round((int(state.num_input_tokens_seen) - self._first_tokens) / max(elapsed, 1e-9), 1),
            seconds_left=round(elapsed / max(done, 1) * left, 1),
        )
        if self._ends_epoch(state) and not self._stop.requested:
            self._measure(state, others["model"])
        is_due = not self._ends_epoch(state) or "evaluation" in state.log_history[-1]
        if is_due and self._ends_early(state):
            control.should_save = control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        """Report that all work so far is saved."""
        self._progress.tell("checkpoint", stage=self._stage, step=state.global_step)

    def _ends_early(self, state: TrainerState) -> bool:
        """Whether a rule ends the training here; notes that in the log, so that no later process continues it."""
        log: list[dict[str, Any]] = state.log_history
        reason = self._extras.ends_early(log)
        if reason is not None:
            log[-1]["ended_early"] = reason
            self._progress.tell("ended_early", stage=self._stage, step=state.global_step, reason=reason)
        return reason is not None

    def _measure(self, state: TrainerState, module: Any) -> None:
        epoch = round(state.global_step / self._steps_of_epoch(state))
        try:
            self._extras.keep(module, epoch)
            measured = self._evaluate(module)
        except Stopped:
            return  # the next process repeats the evaluation
        log: list[dict[str, Any]] = state.log_history  # not only numbers: whatever is JSON
        log.append({"step": state.global_step, "epoch": float(epoch), "evaluation": measured})
        self._progress.tell("evaluation", stage=self._stage, epoch=epoch, **measured)

    def _steps_of_epoch(self, state: TrainerState) -> int:
        return max(1, state.max_steps // int(state.num_train_epochs))

    def _last_step(self, state: TrainerState) -> int:
        return self._epochs * self._steps_of_epoch(state)

    def _ends_epoch(self, state: TrainerState) -> bool:
        return state.global_step > 0 and state.global_step % self._steps_of_epoch(state) == 0

    def _must_stop(self, device: torch.device) -> bool:
        """Whether any process got a request to stop: all must stop after the same step."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return self._stop.requested
        requests = torch.tensor(float(self._stop.requested), device=device)
        distributed.all_reduce(requests)
        return bool(requests.item())
