"""Read PEFT's `adapter_config.json`, and refuse adapters that this server cannot serve.

PEFT has several dozen variants of LoRA. This module refuses, by name, every field that might change scores in an
unknown way, since an adapter of which the server ignores a part gives scores of no trained model.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from inference.errors import AdapterRefused

CONFIG = "adapter_config.json"
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # other initialisations change the base's weights, too
# Fields about the training of an adapter, or with a fixed value in all adapters that we accept.
_WITHOUT_EFFECT = frozenset({
    "auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "fan_in_fan_out", "inference_mode",
    "layers_pattern", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core", "peft_version",
    "qalora_group_size",
})  # fmt: skip
_WHAT_IT_DOES = {
    "use_dora": "scales whole weights (DoRA)",
    "modules_to_save": "replaces whole layers",
    "lora_bias": "has biases",
    "trainable_token_indices": "changes embeddings",
    "target_parameters": "changes weights outside linear layers",
    "layer_replication": "repeats layers",
}
_NAME = re.compile(r"[\w.]+")
_Value = TypeVar("_Value", int, float)
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class AdapterConfig(BaseModel):
    """The fields that affect scores; `r` is the rank, and the patterns give some layers another rank and alpha."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    peft_type: str
    task_type: str | None = None
    r: PositiveInt
    lora_alpha: _Finite
    use_rslora: bool = False
    rank_pattern: dict[str, PositiveInt] | None = None
    alpha_pattern: dict[str, _Finite] | None = None
    bias: str = "none"
    init_lora_weights: bool | str | None = True
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    revision: str | None = None

    @property
    def highest_rank(self) -> int:
        """The highest rank of all layers."""
        return max(self.r, *(self.rank_pattern or {"": 0}).values())

    def rank_of(self, layer: str) -> int:
        """The rank of a layer's matrices."""
        return _of_layer(self.rank_pattern or {}, layer, self.r)

    def scale_of(self, layer: str) -> float:
        """The factor of a layer's product: alpha / rank, or alpha / sqrt(rank) (arXiv 2312.03732)."""
        rank = self.rank_of(layer)
        return _of_layer(self.alpha_pattern or {}, layer, self.lora_alpha) / (
            math.sqrt(rank) if self.use_rslora else rank
        )

    def targets(self, layers: Iterable[str]) -> set[str] | None:
        """The trained layers among these; None if the configuration names them by a pattern or a selection."""
        names = self.target_modules
        if not isinstance(names, list) or self.exclude_modules or self.layers_to_transform is not None:
            return None
        return {layer for layer in layers if any(_ends_with(layer, name) for name in names)}


def read_config(content: bytes) -> AdapterConfig:
    """Parse and check the file. Raises AdapterRefused, which names the field at fault."""
    try:
        config = AdapterConfig.model_validate_json(content)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        reason = f"{place} is missing, or not of the kind that PEFT writes" if place else "this is no JSON object"
        raise AdapterRefused(f"{CONFIG}: {reason}") from error
    for fault in _faults(config):
        raise AdapterRefused(f"{CONFIG}: {fault}")
    return config


def _faults(config: AdapterConfig) -> Iterator[str]:
    if config.peft_type != "LORA":
        yield f"peft_type is {config.peft_type!r}; this server takes only LORA"
    if config.task_type not in (None, "CAUSAL_LM"):
        yield f"task_type is {config.task_type!r}; this server takes only CAUSAL_LM"
    for name, value in (config.model_extra or {}).items():
        if value and name not in _WITHOUT_EFFECT:
            why = _WHAT_IT_DOES.get(name, "may change scores in a way that this server does not know")
            yield f"{name} is set, which {why}; merge the adapter into its base and serve that"
    if config.bias != "none":
        yield f"bias is {config.bias!r}: it changes the base's biases; merge the adapter into its base and serve that"
    if config.init_lora_weights not in (*_PLAIN_STARTS, None):
        yield (
            f"init_lora_weights is {config.init_lora_weights!r}, which changes the base's own weights; "
            "convert the adapter as PEFT describes, or merge it into its base and serve that"
        )
    for name in (*(config.rank_pattern or ()), *(config.alpha_pattern or ())):
        if not _NAME.fullmatch(name):
            yield f"rank_pattern or alpha_pattern has the pattern {name!r}; only names of layers are read"


def _of_layer(pattern: Mapping[str, _Value], layer: str, otherwise: _Value) -> _Value:
    """The first entry whose name the layer's ends with, as PEFT looks it up (`peft.utils.other.get_pattern_key`)."""
    return next((value for name, value in pattern.items() if _ends_with(layer, name)), otherwise)


def _ends_with(layer: str, name: str) -> bool:
    return layer == name or layer.endswith(f".{name}")
