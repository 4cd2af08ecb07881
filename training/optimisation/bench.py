"""What every part of a run works with, and how each of its trainings begins: the same whatever came before."""

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
    """One run: what is asked for, where from, where to, and who watches."""

    spec: Spec
    base: Base
    device: torch.device
    beside: Path  # the folder that paths of the specification are meant from
    folder: Path
    progress: Progress
    stop: StopRequest

    @property
    def is_first(self) -> bool:
        """Whether this process is the one of its run, or the first of several, which alone writes results."""
        return os.environ.get("RANK", "0") == "0"

    def file(self, named: str) -> Path:
        """A file that the specification names."""
        return self.beside / Path(named).expanduser()

    def module(self) -> Any:
        """The base as it is; what it may lack of weights is drawn by the seed."""
        set_seed(self.spec.seed)
        return load_module(self.base, self.spec.kind, self.spec.method, self.device)

    def trainable(self) -> Any:
        """The base as a training begins with it, the same each time."""
        module = self.module()
        return with_adapter(module, self.spec) if self.spec.method is Method.LORA else module

    def checkpoints(self, stage: str) -> Checkpoints:
        """The checkpoints of one training of this run."""
        return Checkpoints(self.folder / "checkpoints" / stage)

    def arguments(self, stage: str, form: type[Form], **others: Any) -> Form:
        """What a trainer is told, in the form that it takes. Raises Refused."""
        staging = str(self.checkpoints(stage).staging)
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        return on_one_device(form(**{**arguments(self.spec, staging, self.device, processes), **others}))
