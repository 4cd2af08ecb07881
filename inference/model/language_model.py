"""Load a Hugging Face causal language model and run forward passes on it."""

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicCache

from inference.cache.key_values import PooledKeyValues
from inference.cache.packing import Pack
from inference.cache.prefix_cache import Tokens
from inference.model.attention import FULL, SLIDING, Attention, attention_of, narrowed
from inference.model.gguf_file import UnreadableModel, is_gguf, read_gguf
from inference.model.low_rank import Adapter, attached
from inference.model.mixed import mix

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "mixed": torch.float32}
DtypeName = Literal["auto", "float32", "bfloat16", "float16", "mixed"]
_ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER = "this is an adapter: name its base with --model, and the adapter with --adapter NAME=FOLDER"
_FINGERPRINT_BYTES = 1 << 20  # read from either end of each file
_FINGERPRINT_SUFFIXES = (".json", ".safetensors", ".bin", ".model", ".txt")


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a language model: a folder, a GGUF file or a hub name, a torch device, a dtype."""

    model: str
    device: str = "auto"
    dtype: DtypeName = "auto"


class LanguageModel:
    """A causal language model in memory. All answers are log-probabilities in nats, float32, on the CPU."""

    def __init__(self, module: Any, tokenizer: PreTrainedTokenizerBase, name: str, sha: str | None = None) -> None:
        self.module = module.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.sha = sha
        self.device: torch.device = module.device
        self.dtype: torch.dtype = module.dtype  # of keys, values and states between layers
        self.is_mixed = False
        text = module.config.get_text_config()
        self.vocabulary: int = text.vocab_size
        self.layers: int = text.num_hidden_layers
        self.context_tokens = _context_tokens(text)
        self.attention: Attention = attention_of(text, self.context_tokens)
        self.parameters = inspect.signature(module.forward).parameters

    @property
    def precision(self) -> str:
        """The precision of its arithmetic: the name of its dtype, or `mixed`."""
        return "mixed" if self.is_mixed else str(self.dtype).removeprefix("torch.")

    def mix(self) -> None:
        """Multiply by the weights in bfloat16 from now on (`inference.model.mixed`); the weights were in float32."""
        mix(self.module)
        self.is_mixed = True

    @contextmanager
    def adapted(self, adapter: Adapter | None) -> Iterator[None]:
        """Score with an adapter while the context lasts; None means the language model itself."""
        if adapter is None:
            yield
            return
        with attached(self.module, adapter):
            yield

    @torch.inference_mode()
    def plain(self, tokens: Tokens) -> torch.Tensor:
        """Score a single prompt: shape (vocabulary,)."""
        ids = torch.from_numpy(tokens.astype(np.int64))[None].to(self.device)
        wanted = {"logits_to_keep": 1} if "logits_to_keep" in self.parameters else {}
        logits: torch.Tensor = self.module(input_ids=ids, use_cache=False, **wanted).logits[0, -1]
        return logits.float().log_softmax(-1).cpu()

    @torch.inference_mode()
    def packed(self, pack: Pack, key_values: PooledKeyValues) -> torch.Tensor:
        """Score each answered row of a pack: shape (answers, vocabulary)."""
        key_values.show(torch.from_numpy(pack.slots).to(self.device), len(pack.tokens))
        answers = torch.from_numpy(pack.answers).to(self.device)
        sparing = "logits_to_keep" in self.parameters
        logits: torch.Tensor = self.module(
            input_ids=torch.from_numpy(pack.tokens.astype(np.int64))[None].to(self.device),
            attention_mask=self._masks(pack),
            position_ids=torch.from_numpy(pack.positions)[None].to(self.device),
            past_key_values=key_values,
            use_cache=True,
            **({"logits_to_keep": answers} if sparing else {}),
        ).logits[0]
        wanted = logits if sparing else logits.index_select(0, answers)
        return wanted.float().log_softmax(-1).cpu()

    def _masks(self, pack: Pack) -> torch.Tensor | dict[str, torch.Tensor]:
        """One mask for all layers, or one for each kind if a window hides tokens; each of shape (1, 1, Q, K)."""
        window = self.attention.window
        if window is None or not pack.reaches_beyond(window):
            return self._mask(pack.mask)
        sliding = self._mask(pack.mask_within(window))
        return {FULL: self._mask(pack.mask), SLIDING: sliding} if self.attention.is_mixed else sliding

    def _mask(self, mask: npt.NDArray[np.float32]) -> torch.Tensor:
        """Replace minus infinity by the least finite number, since some kernels turn it into NaN."""
        moved = torch.from_numpy(mask).to(self.device, self.dtype)
        return moved.clamp(min=torch.finfo(self.dtype).min)[None, None]

    @contextmanager
    def narrowed(self, narrow: int) -> Iterator[None]:
        """Narrow the window of its sliding layers while the context lasts; without such layers do nothing."""
        before, window = self.attention, self.attention.window
        if window is None or window <= narrow:
            yield
            return
        self.attention = replace(before, window=narrow)
        try:
            with narrowed(self.module, window, narrow):
                yield
        finally:
            self.attention = before

    @torch.inference_mode()
    def key_value_bytes(self) -> int:
        """Memory of the keys and values of one token, in bytes."""
        cache = DynamicCache()
        self.module(input_ids=torch.zeros((1, 1), dtype=torch.int64, device=self.device), past_key_values=cache)
        states = [getattr(layer, name) for layer in cache.layers for name in ("keys", "values")]
        return sum(state.numel() * state.element_size() for state in states)


def load(source: Source) -> LanguageModel:
    """Load weights and tokenizer. Raises OSError for a missing model, UnreadableModel for an unusable one."""
    device = _device(source.device)
    language_model = _loaded(source.model, device, _dtype(source.dtype, device))
    if source.dtype == "mixed":
        language_model.mix()
    return language_model


def _loaded(model: str, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    if is_gguf(model):
        return _load_gguf(Path(model), device, dtype)
    if (Path(model) / _ADAPTER_CONFIG).exists():
        raise UnreadableModel(_ADAPTER)
    module: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    if getattr(module, "_hf_peft_config_loaded", False):  # transformers lays an adapter of the hub over its base
        raise UnreadableModel(_ADAPTER)
    module.to(device)
    tokenizer = AutoTokenizer.from_pretrained(model)
    folder = Path(model)
    if folder.is_dir():
        return LanguageModel(module, tokenizer, folder.resolve().name, fingerprint(folder))
    return LanguageModel(module, tokenizer, model, getattr(module.config, "_commit_hash", None))


def _load_gguf(path: Path, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    sha = fingerprint(path) if path.is_file() else ""
    module, tokenizer = read_gguf(path, dtype, sha)
    return LanguageModel(module.to(device), tokenizer, path.name, sha)


def fingerprint(model: Path) -> str:
    """The fingerprint of a model folder or file: SHA-256 over the size and both ends of each of its files."""
    digest = hashlib.sha256()
    files = [model] if model.is_file() else [path for path in model.iterdir() if path.suffix in _FINGERPRINT_SUFFIXES]
    for path in sorted(files):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_FINGERPRINT_BYTES))
            file.seek(max(_FINGERPRINT_BYTES, size - _FINGERPRINT_BYTES))
            digest.update(file.read())
    return digest.hexdigest()


def token_arrays(prompts: Sequence[Sequence[int] | Tokens]) -> list[Tokens]:
    """Convert prompts to the arrays of the cache."""
    return [np.asarray(prompt, np.int32) for prompt in prompts]


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _dtype(name: DtypeName, device: torch.device) -> torch.dtype:
    """The default dtype: float32 on the CPU, half precision on a GPU, as is usual there."""
    if name != "auto":
        return DTYPES[name]
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _context_tokens(config: Any) -> int:
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        if isinstance(length := getattr(config, name, None), int):
            return length
    raise ValueError("the language model's configuration does not give its context in tokens")
