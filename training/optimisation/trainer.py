"""transformers' Trainer with the loss on labels alone, and with checkpoints that are complete or absent."""

from typing import Any, TypeVar

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import DefaultFlowCallback

from training.data.collation import nats_of_labels
from training.errors import Refused
from training.optimisation.checkpoints import Checkpoints
from training.spec import Method, Spec

Form = TypeVar("Form", bound=TrainingArguments)


class CheckpointingTrainer(Trainer):
    """Write checkpoints to temporary folders and name them once complete."""

    checkpoints: Checkpoints

    def attach(self, checkpoints: Checkpoints, watcher: TrainerCallback) -> None:
        """Keep only these callbacks: Trainer adds others that print or report elsewhere."""
        self.checkpoints = checkpoints
        self.callback_handler.callbacks = [DefaultFlowCallback(), watcher]

    def _get_output_dir(self, trial: Any) -> str:  # noqa: ARG002 - as Trainer calls it
        return str(self.checkpoints.staging)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.is_world_process_zero():
            self.checkpoints.prepare()
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            step = self.state.global_step
            self.checkpoints.commit(self.checkpoints.staging / f"checkpoint-{step}", step)
        self.accelerator.wait_for_everyone()


class LabelTrainer(CheckpointingTrainer):
    """Learn labels: the loss is the weighted mean of -log p(label | prompt) over a batch's rows, in nats."""

    loss_is_scaled_for_ga = False  # a mean: Trainer divides it by the number of parts of a step

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - the form of Trainer's own
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """Compute the loss of the label's tokens alone, and if possible only their logits."""
        del return_outputs, num_items_in_batch
        targets, weights = inputs.pop("targets"), inputs.pop("weights")
        nats: torch.Tensor = weights * nats_of_labels(model(**inputs).logits, targets)
        return nats.mean()


def arguments(spec: Spec, staging: str, device: torch.device, processes: int) -> dict[str, Any]:
    """The arguments of `TrainingArguments`. Raises Refused if the processes cannot divide the batch."""
    at_once = spec.rows_at_once or max(1, spec.batch_rows // processes)
    if spec.batch_rows % (at_once * processes):
        raise Refused(
            f"batch_rows: {spec.batch_rows} rows cannot be divided among {processes} processes "
            f"with {at_once} rows at once"
        )
    return {
        "output_dir": staging,
        "num_train_epochs": spec.epochs,
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": spec.batch_rows // (at_once * processes),
        "learning_rate": spec.rate,
        "lr_scheduler_type": "linear",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch",
        "seed": spec.seed,
        "bf16": device.type == "cuda" and spec.method is Method.FULL,
        "use_cpu": device.type == "cpu",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": spec.checkpoint_steps,
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "include_num_input_tokens_seen": "non_padding",
        "dataloader_pin_memory": device.type == "cuda",
        "ddp_find_unused_parameters": False,
    }


def on_one_device(made: Form) -> Form:
    """Stop Trainer from spreading one process over all GPUs: several GPUs take several processes."""
    if made.n_gpu > 1:
        made._n_gpu = 1  # noqa: SLF001 - there is no other way to say so
    return made
