"""The common resources of a run, which start each of its trainings alike, whatever ran before."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from training.base import Base, load_module
from training.optimisation.adapters import with_adapter
from training.optimisation.checkpoints import Checkpoints
from training.optimisation.trainer import Form, arguments, on_one_device
from training.progress import Progress
from training.spec import Method, Spec
from training.supervision import StopRequest


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: its specification, base, folder and watcher."""

    spec: Spec
    base: Base
    device: torch.device
    beside: Path  # paths in the specification are relative to this folder
    folder: Path
    progress: Progress
    stop: StopRequest

    @property
    def is_first(self) -> bool:
        """Whether this process is the only or the first one of its run, which alone writes results."""
        return os.environ.get("RANK", "0") == "0"

    def file(self, named: str) -> Path:
        """A file that the specification names."""
        return self.beside / Path(named).expanduser()

    def module(self) -> Any:
        """Load the base; the seed initialises a missing head."""
        set_seed(self.spec.seed)
        return load_module(self.base, self.spec.kind, self.spec.method, self.device)

    def trainable(self) -> Any:
        """Load the base for the start of a training, the same each time."""
        module = self.module()
        return with_adapter(module, self.spec) if self.spec.method is Method.LORA else module

    def checkpoints(self, stage: str) -> Checkpoints:
        """The checkpoints of one training of this run."""
        return Checkpoints(self.folder / "checkpoints" / stage)

    def arguments(self, stage: str, form: type[Form], **others: Any) -> Form:
        """Build the trainer's arguments. Raises Refused."""
        staging = str(self.checkpoints(stage).staging)
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        return on_one_device(form(**{**arguments(self.spec, staging, self.device, processes), **others}))
