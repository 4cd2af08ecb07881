"""Read a LoRA adapter from PEFT's folder, and check that it fits its base."""

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of

from inference.adapters.config import CONFIG, AdapterConfig, read_config
from inference.adapters.manifest import hashes, manifest_of
from inference.errors import AdapterNotFound, AdapterRefused
from inference.model.language_model import LanguageModel
from inference.model.low_rank import Adapter, LowRank, Width, linear_layers

logger = logging.getLogger(__name__)

WEIGHTS = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
_KEY = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<matrix>[AB])\.weight")
_CONFIG_BYTES = 1 << 20
_HEADER_BYTES = 16 << 20  # of a file of weights: names, shapes and further metadata
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def read_adapter(folder: Path, base: LanguageModel, max_rank: int, within: Path | None = None) -> Adapter:
    """Load the adapter of a folder to the base's device. Reads each file once, so that it hashes the bytes it serves.

    With `within`, a resolved path, it reads no file outside, even through links.
    Raises AdapterNotFound and AdapterRefused.
    """
    try:
        if not folder.is_dir():
            raise AdapterNotFound(f"there is no folder {folder}")
        return _read(folder.absolute(), base, max_rank, within)
    except OSError as error:
        raise AdapterRefused(f"it cannot be read: {error.strerror}") from error


def _read(folder: Path, base: LanguageModel, max_rank: int, within: Path | None) -> Adapter:
    layers = linear_layers(base.module)
    described = _content(folder / CONFIG, _CONFIG_BYTES, within)
    config = read_config(described)
    if config.highest_rank > max_rank:
        raise AdapterRefused(f"its rank is {config.highest_rank}; this server takes {max_rank} (--max-adapter-rank)")
    manifest = manifest_of(folder, within)
    _check_base(hashes(config.revision) | (manifest.bases if manifest else set()), base)
    weights = _content(folder / WEIGHTS, _most_bytes(layers, config), within)
    if manifest:
        manifest.check({CONFIG: described, WEIGHTS: weights})
    matrices = _matrices(weights, layers)
    _check_complete(config, layers, matrices)
    return Adapter(
        _fingerprint(base, {CONFIG: described, WEIGHTS: weights}),
        config.highest_rank,
        {name: _low_rank(name, pair, layers[name], config, base.device) for name, pair in matrices.items()},
    )


def _content(path: Path, most_bytes: int, within: Path | None) -> bytes:
    """Read a file. Raises AdapterRefused if it is missing or far too large."""
    if within and not path.resolve().is_relative_to(within):
        raise AdapterRefused(f"{path.name} is a link to a place outside the folder of adapters")
    if not path.is_file():
        if path.name == WEIGHTS and (path.parent / _PICKLED).exists():
            raise AdapterRefused(
                f"its weights are pickled ({_PICKLED}), and reading them could run any code: save it as {WEIGHTS}"
            )
        raise AdapterRefused(f"the folder has no {path.name}: it is no adapter as PEFT saves it")
    if path.stat().st_size > most_bytes:
        raise AdapterRefused(f"{path.name} has {path.stat().st_size} bytes, more than the adapter's own take")
    return path.read_bytes()


def _most_bytes(layers: Mapping[str, Width], config: AdapterConfig) -> int:
    widths = sum(width.inputs + width.outputs for width in layers.values())
    return _HEADER_BYTES + 4 * config.highest_rank * widths


def _check_base(named: set[str], base: LanguageModel) -> None:
    """Compare the base with the adapter's fingerprint or revision, if it names one. Raises AdapterRefused."""
    comparable = {name for name in named if len(name) == len(base.sha or "")}
    if comparable and base.sha not in comparable:
        raise AdapterRefused(
            f"it was trained on another base: it names {min(comparable)}, and {base.name} is {base.sha}"
        )
    if not comparable:
        logger.warning("an adapter does not name its base by fingerprint: only names and shapes of layers are checked")


def _matrices(weights: bytes, layers: Mapping[str, Width]) -> dict[str, dict[str, torch.Tensor]]:
    """Read A and B by the layer's name. Raises AdapterRefused for other keys, and for layers that the base lacks."""
    try:
        tensors = tensors_of(weights)
    except (SafetensorError, KeyError, ValueError) as error:
        raise AdapterRefused(f"{WEIGHTS} is damaged: it is no safetensors file") from error
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in sorted(tensors.items()):
        parts = _KEY.fullmatch(key)
        if parts is None:
            raise AdapterRefused(f"{WEIGHTS} has {key!r}, which is no matrix of LoRA for a linear layer")
        if parts["layer"] not in layers:
            raise AdapterRefused(f"it changes {parts['layer']!r}, and the base has no linear layer of that name")
        if tensor.dtype not in _DTYPES or not bool(tensor.isfinite().all()):
            raise AdapterRefused(f"{key!r} has numbers that are infinite, undefined or of an unknown form")
        found.setdefault(parts["layer"], {})[parts["matrix"]] = tensor
    return found


def _check_complete(config: AdapterConfig, layers: Mapping[str, Width], found: Mapping[str, object]) -> None:
    """Raise AdapterRefused if the matrices belong to other layers than the configuration names."""
    if not found:
        raise AdapterRefused(f"{WEIGHTS} has no matrices")
    targets = config.targets(layers)
    if targets is not None and (odd := sorted(targets ^ set(found))):
        lacking = "has no matrices for" if odd[0] in targets else "has matrices, not named in target_modules, for"
        raise AdapterRefused(f"{WEIGHTS} {lacking} {odd[0]!r}: it is not the file that {CONFIG} describes")


def _low_rank(
    name: str, pair: Mapping[str, torch.Tensor], width: Width, config: AdapterConfig, device: torch.device
) -> LowRank:
    """Raise AdapterRefused if a matrix is missing or does not have the layer's shape."""
    rank = config.rank_of(name)
    for matrix, shape in (("A", (rank, width.inputs)), ("B", (width.outputs, rank))):
        given = tuple(pair[matrix].shape) if matrix in pair else None
        if given != shape:
            raise AdapterRefused(f"matrix {matrix} of {name!r} has the shape {given}; rank and base want {shape}")
    down, up = (pair[matrix].to(device, torch.float32) for matrix in "AB")
    return LowRank(down, up, config.scale_of(name))


def _fingerprint(base: LanguageModel, contents: Mapping[str, bytes]) -> str:
    """SHA-256 over the base's fingerprint and the adapter's files: another base makes another model."""
    lines = [f"base {base.sha or base.name}", *_lines(contents)]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _lines(contents: Mapping[str, bytes]) -> Iterator[str]:
    for name, content in sorted(contents.items()):
        yield f"{hashlib.sha256(content).hexdigest()}  {name}"
