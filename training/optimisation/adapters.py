"""LoRA by PEFT: small matrices beside every linear layer, saved in a folder for servers."""

import json
from pathlib import Path
from typing import Any

from peft import LoraConfig, TaskType, get_peft_model

from training.base import Base
from training.optimisation.files import write_json
from training.spec import Kind, Spec

CONFIG = "adapter_config.json"
_CARD = "README.md"  # PEFT writes one with the base's path in it
_TASKS = {Kind.LABEL: TaskType.CAUSAL_LM, Kind.REWARD: TaskType.SEQ_CLS, Kind.POLICY: TaskType.CAUSAL_LM}


def with_adapter(module: Any, spec: Spec) -> Any:
    """The language model with fresh matrices, drawn from torch's generator, which alone are trained."""
    return get_peft_model(module, lora_config(spec))


def lora_config(spec: Spec) -> LoraConfig:
    """Which layers get matrices of which rank."""
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.scale,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type=_TASKS[spec.kind],
    )


def save_adapter(module: Any, folder: Path, base: Base) -> None:
    """Write the matrices and their configuration, with the base's name and fingerprint."""
    module.save_pretrained(folder, safe_serialization=True)
    (folder / _CARD).unlink(missing_ok=True)
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    config["base_model_name_or_path"] = base.name
    config["revision"] = base.revision or base.fingerprint
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])  # PEFT writes a set, in random order
    write_json(folder / CONFIG, config)
