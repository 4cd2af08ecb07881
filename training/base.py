"""Finds the language model to start from, without a network; fingerprints its files, and loads them."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from inference.model.language_model import fingerprint
from training.errors import BaseUnusable
from training.spec import Device, Kind, Method

# Fields of configurations with the context of a language model.
_CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True, slots=True)
class Base:
    """A language model on the disk. `name` is the folder's last part or the name on the hub, never a path."""

    name: str
    folder: Path
    fingerprint: str
    revision: str | None = None  # of the hub

    @property
    def identity(self) -> dict[str, str | None]:
        """The base's entry in outputs."""
        return {"name": self.name, "fingerprint": self.fingerprint, "revision": self.revision}


def find_base(named: str, beside: Path, *, download: bool = False) -> Base:
    """Find the named folder, relative to `beside`, or a downloaded model of the hub.

    With `download`, downloads a missing model now. Raises BaseUnusable.
    """
    folder = beside / Path(named).expanduser()
    if folder.is_dir():
        return _checked(Base(folder.resolve().name, folder.resolve(), fingerprint(folder)))
    if named.startswith(("/", ".", "~")) or named.count("/") > 1 or folder.exists():
        raise BaseUnusable(f"base: {named!r} is no folder; give the folder of a Hugging Face model, or its hub name")
    if download:
        _download(named)
    try:
        found = Path(snapshot_download(named, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise BaseUnusable(
            f"base: {named!r} is neither a folder nor a model that was downloaded before; "
            f"name a folder, run `hf download {named}` where there is a network, or download it with --download"
        ) from error
    return _checked(Base(named, found, fingerprint(found), found.name))


def load_module(base: Base, kind: Kind, method: Method, device: torch.device) -> Any:
    """Load the weights to a device, in evaluation mode: float32, or bfloat16 for frozen weights on a GPU.

    For kind `reward` the model gives one number for each text. Raises BaseUnusable.
    """
    loader, words, new = {
        Kind.LABEL: (AutoModelForCausalLM, {}, set[str]()),
        Kind.POLICY: (AutoModelForCausalLM, {}, set[str]()),
        Kind.REWARD: (AutoModelForSequenceClassification, {"num_labels": 1}, {"score.weight"}),
    }[kind]
    halved = device.type == "cuda" and method is Method.LORA
    dtype = torch.bfloat16 if halved else torch.float32
    try:
        module: Any
        module, loaded = loader.from_pretrained(
            base.folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True, **words
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _unusable(base, error) from error
    if missing := sorted(set(loaded["missing_keys"]) - new):  # transformers would initialise them at random
        raise BaseUnusable(f"base: {base.name!r} lacks weights of its architecture, {missing[0]} for one")
    module.config.use_cache = False  # training generates nothing
    return module.to(device).eval()


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """Load the tokenizer. Raises BaseUnusable."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base.folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise _unusable(base, error) from error
    return tokenizer


def context_tokens(base: Base) -> int:
    """Return the context in tokens. Raises BaseUnusable if the configuration does not give it."""
    try:
        config = AutoConfig.from_pretrained(base.folder, local_files_only=True).get_text_config()
    except (OSError, ValueError) as error:
        raise _unusable(base, error) from error
    lengths = [length for name in _CONTEXT_FIELDS if isinstance(length := getattr(config, name, None), int)]
    if not lengths:
        raise BaseUnusable("base: its configuration does not give its context in tokens")
    return lengths[0]


def device_of(device: Device) -> torch.device:
    """Return the device to compute on. Raises BaseUnusable for a missing GPU."""
    if device is Device.CUDA and not torch.cuda.is_available():
        raise BaseUnusable("device: torch finds no GPU; choose cpu or auto")
    if device is Device.CPU or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))  # torchrun numbers the processes of a machine


def _checked(base: Base) -> Base:
    if (base.folder / "adapter_config.json").is_file():
        raise BaseUnusable(f"base: {base.name!r} is an adapter; name the language model that it was trained on")
    if not (base.folder / "config.json").is_file():
        raise BaseUnusable(f"base: the folder {base.name!r} has no config.json, so it is no Hugging Face model")
    return base


def _download(name: str) -> None:
    """Download in a separate process, since this one has no access to the network."""
    online = {name: value for name, value in os.environ.items() if name not in _OFFLINE}
    command = [sys.executable, "-m", "training.fetching", name]
    ended = subprocess.run(command, env=online, stdout=sys.stderr, check=False)  # noqa: S603 - no shell, a name as it is
    if ended.returncode:
        raise BaseUnusable(f"base: {name!r} could not be downloaded; the reason stands above")


def _unusable(base: Base, error: Exception) -> BaseUnusable:
    reason = " ".join(str(error).strip().partition("\n\n")[0].split())
    return BaseUnusable(f"base: {base.name!r} cannot be loaded: {reason}")
