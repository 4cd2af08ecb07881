"""LoRA adapters in PEFT's format, written by hand, and the scores of their bases with them."""

import copy
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from inference.adapters.folder import read_adapter
from inference.model.language_model import LanguageModel
from inference.model.low_rank import Adapter

LLAMA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GPT2_LAYERS = ("c_attn", "c_proj", "c_fc")
# Every field that PEFT 0.21.2 writes for a plain adapter.
PEFT_CONFIG: Mapping[str, Any] = json.loads("""{
    "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
    "base_model_name_or_path": "tiny", "bias": "none", "corda_config": null, "ensure_weight_tying": false,
    "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
    "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
    "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 6, "lora_bias": false, "lora_dropout": 0.1,
    "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
    "monteclora_config": null, "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 4,
    "rank_pattern": {}, "revision": null, "target_modules": ["q_proj"], "target_parameters": null,
    "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_bdlora": null, "use_dora": false,
    "use_qalora": false, "use_rslora": false, "velora_config": null
}""")


def targeted(module: nn.Module, targets: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the layers whose names end with one of `targets`."""
    return {
        name: (part.weight.shape[0], part.weight.shape[1])
        if isinstance(part, Conv1D)
        else (part.weight.shape[1], part.weight.shape[0])
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear | Conv1D) and name.split(".")[-1] in targets
    }


def save_adapter(
    folder: Path, module: nn.Module, targets: Iterable[str] = LLAMA_LAYERS, *, seed: int = 0, **fields: Any
) -> Path:
    """Write random matrices for these layers, so large that scores differ by nats; the configuration gets `fields`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**PEFT_CONFIG, "target_modules": list(targets), **fields}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(seed)
    matrices = {}
    for layer, (inputs, outputs) in targeted(module, targets).items():
        rank = next((rank for name, rank in config["rank_pattern"].items() if layer.endswith(name)), config["r"])
        key = f"base_model.model.{layer}.lora_"
        matrices[f"{key}A.weight"] = torch.randn(rank, inputs, generator=generator) * 0.2
        matrices[f"{key}B.weight"] = torch.randn(outputs, rank, generator=generator) * 0.1
    save_file(matrices, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


def merged(module: nn.Module, folder: Path, scales: Mapping[str, float] | float) -> Any:
    """A copy of the base with weights W + s B A; `scales` may give each suffix of a layer's name its own s."""
    copied = copy.deepcopy(module)
    matrices = load_file(folder / "adapter_model.safetensors")
    with torch.no_grad():
        for key in [key for key in matrices if key.endswith("lora_A.weight")]:
            layer = re.sub(r"^base_model\.model\.|\.lora_A\.weight$", "", key)
            part: Any = copied.get_submodule(layer)
            scale = scales if isinstance(scales, float) else next(s for n, s in scales.items() if layer.endswith(n))
            update = scale * (matrices[key.replace("lora_A", "lora_B")] @ matrices[key])
            part.weight += update.T if isinstance(part, Conv1D) else update
    return copied


def read(folder: Path, base: LanguageModel) -> Adapter:
    """Read the adapter as the server does."""
    return read_adapter(folder, base, max_rank=64)
