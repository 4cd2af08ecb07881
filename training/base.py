"""The language model to start from: found without a network, named by what is in its files, loaded from safetensors."""

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

# Where configurations say how many tokens a language model takes.
_CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True, slots=True)
class Base:
    """A language model on the disk. `name` is no path: the folder's last part, or the name on the hub."""

    name: str
    folder: Path
    fingerprint: str
    revision: str | None = None  # of the hub

    @property
    def identity(self) -> dict[str, str | None]:
        """What outputs say of it."""
        return {"name": self.name, "fingerprint": self.fingerprint, "revision": self.revision}


def find_base(named: str, beside: Path, *, download: bool = False) -> Base:
    """The folder that is named, from `beside` on, or a name on the hub that was downloaded before.

    With `download`, a name that was not is downloaded now. Raises BaseUnusable.
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
            "name a folder, or let it be downloaded with --download"
        ) from error
    return _checked(Base(named, found, fingerprint(found), found.name))


def load_module(base: Base, kind: Kind, method: Method, device: torch.device) -> Any:
    """The weights on a device, in evaluation mode: float32, but on a GPU bfloat16 where they stay as they are.

    For kind `reward` with one number for each text. Raises BaseUnusable.
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
    if missing := sorted(set(loaded["missing_keys"]) - new):  # transformers would draw them at random
        raise BaseUnusable(f"base: {base.name!r} lacks weights of its architecture, {missing[0]} for one")
    module.config.use_cache = False  # nothing is generated here
    return module.to(device).eval()


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """The tokenizer. Raises BaseUnusable."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base.folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise _unusable(base, error) from error
    return tokenizer


def context_tokens(base: Base) -> int:
    """How many tokens it reads at once. Raises BaseUnusable where its configuration does not tell."""
    try:
        config = AutoConfig.from_pretrained(base.folder, local_files_only=True).get_text_config()
    except (OSError, ValueError) as error:
        raise _unusable(base, error) from error
    lengths = [length for name in _CONTEXT_FIELDS if isinstance(length := getattr(config, name, None), int)]
    if not lengths:
        raise BaseUnusable("base: its configuration does not tell how many tokens it takes")
    return lengths[0]


def device_of(asked: Device) -> torch.device:
    """The device to compute on. Raises BaseUnusable for a GPU that is not there."""
    if asked is Device.CUDA and not torch.cuda.is_available():
        raise BaseUnusable("device: there is no GPU that torch can use; take cpu or auto")
    if asked is Device.CPU or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))  # torchrun numbers the processes of a machine


def _checked(base: Base) -> Base:
    if (base.folder / "adapter_config.json").is_file():
        raise BaseUnusable(f"base: {base.name!r} is an adapter; name the language model that it was trained on")
    if not (base.folder / "config.json").is_file():
        raise BaseUnusable(f"base: the folder {base.name!r} has no config.json, so it is no Hugging Face model")
    return base


def _download(name: str) -> None:
    """In a process of its own, since this one is cut off from the hub for good."""
    online = {name: value for name, value in os.environ.items() if name not in _OFFLINE}
    command = [sys.executable, "-m", "training.fetching", name]
    ended = subprocess.run(command, env=online, stdout=sys.stderr, check=False)  # noqa: S603 - no shell, a name as it is
    if ended.returncode:
        raise BaseUnusable(f"base: {name!r} could not be downloaded; the reason stands above")


def _unusable(base: Base, error: Exception) -> BaseUnusable:
    reason = " ".join(str(error).strip().partition("\n\n")[0].split())
    return BaseUnusable(f"base: {base.name!r} cannot be loaded: {reason}")
