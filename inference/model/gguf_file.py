"""Read a language model from one GGUF file: dequantised weights, the file's architecture and tokenizer.

transformers reads the file. It converts the tokenizer of a large vocabulary in minutes, so this module keeps the
converted configuration and tokenizer in the user's cache folder.
"""

import importlib.util
import io
import logging
import os
import shutil
import time
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerBase
from transformers.integrations.gguf.reader import GgufHeader, load_gguf_state_dict, read_gguf_metadata

logger = logging.getLogger(__name__)

SUFFIX = ".gguf"
_PACKAGES = ("gguf", "accelerate")  # further packages that transformers needs for such files
_FACTORS = "rope_freqs.weight"  # of Llama 3.1 and later: divisors of rotary frequencies; transformers ignores them
_FACTORS_BY_LENGTH = ("rope_factors_long.weight", "rope_factors_short.weight")


class UnreadableModel(Exception):
    """The file has no readable language model; the text gives the reason."""


@dataclass(frozen=True, slots=True)
class Description:
    """A file's description of its language model, without the weights."""

    config: Any
    tokenizer: PreTrainedTokenizerBase


def is_gguf(model: str) -> bool:
    """Whether a name belongs to a file, rather than to a folder or a hub model."""
    path = Path(model)
    return path.is_file() or (path.suffix.lower() == SUFFIX and not path.is_dir())


def read_gguf(path: Path, dtype: torch.dtype, sha: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """Load the language model of a file to the CPU, and its tokenizer; `sha` names their cache entries.

    Raises UnreadableModel if the file or a necessary package is missing, if it is no GGUF file, or if
    transformers does not know its content.
    """
    architecture = _architecture(path)
    try:
        description = _description(path, sha)
        module = _weights(path, description.config, dtype)
    except UnreadableModel:
        raise
    except Exception as error:  # any error of transformers over a foreign file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnreadableModel(
            f"transformers {transformers.__version__} cannot read {path} (architecture {architecture}): {reason}"
        ) from error
    return module, description.tokenizer


def _architecture(path: Path) -> str:
    """Return the architecture of a complete, readable file. Raises UnreadableModel."""
    if not path.is_file():
        raise UnreadableModel(f"there is no file {path}")
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise UnreadableModel(f"to read {path}, install {' and '.join(missing)}: pip install 'icm-service[embedded]'")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UnreadableModel(f"{path} is no GGUF file: it does not begin with those letters")
    try:
        metadata, tensors = read_gguf_metadata(str(path))
    except Exception as error:  # any bytes may follow the four letters
        raise UnreadableModel(f"{path} is a damaged GGUF file, or a part of one; fetch it again") from error
    if (missing_bytes := _end(path) - path.stat().st_size) > 0:
        raise UnreadableModel(f"{path} is a part of a GGUF file: its last {missing_bytes} bytes are missing")
    if metadata.get("split.count", 1) > 1:
        raise UnreadableModel(f"{path} is one of {metadata['split.count']} parts: join them (llama-gguf-split --merge)")
    if any(name in tensors for name in _FACTORS_BY_LENGTH):
        raise UnreadableModel(
            f"{path} scales its rotary angles by the prompt's length, which transformers would ignore"
        )
    return str(metadata["general.architecture"])


def _end(path: Path) -> int:
    """The end of the last weight in bytes; 0 if transformers does not know the size of a kind of block."""
    try:
        header = GgufHeader.from_file(str(path))
    except ValueError:
        return 0
    return max((header.data_start + tensor.offset + tensor.nbytes for tensor in header.tensors), default=0)


def _weights(path: Path, config: Any, dtype: torch.dtype) -> Any:
    """Load the language model. Raises UnreadableModel if the file lacks some of its weights."""
    logger.info("reading the weights of %s, dequantised to %s", path.name, str(dtype).removeprefix("torch."))
    loader: Any = AutoModelForCausalLM  # its types ignore that there may be two results
    with redirect_stderr(io.StringIO()):  # a progress bar, which does not belong among log lines
        module, found = loader.from_pretrained(
            path.parent,
            gguf_file=path.name,
            config=config,
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
        )
    if lacking := sorted({*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])}):
        raise UnreadableModel(f"{path} lacks {len(lacking)} weights of its architecture, the first is {lacking[0]}")
    _scale_angles(module, path)
    return module


def _scale_angles(module: Any, path: Path) -> None:
    """Divide rotary frequencies by the file's factors, if any, as llama.cpp does. Raises UnreadableModel."""
    if _FACTORS not in read_gguf_metadata(str(path))[1]:
        return
    factors = load_gguf_state_dict(GgufHeader.from_file(str(path)))[_FACTORS][...].float()
    frequencies = [part for name, part in module.named_buffers() if name.endswith(".inv_freq")]
    if [part.shape for part in frequencies] != [factors.shape]:
        raise UnreadableModel(f"{path} has factors for rotary angles that do not fit its architecture")
    frequencies[0] /= factors


def _description(path: Path, sha: str) -> Description:
    """Return configuration and tokenizer, cached by an earlier start or converted and cached now."""
    kept = cache_folder() / f"{sha[:32]}-transformers-{transformers.__version__}"
    if kept.is_dir():
        try:
            return _read(kept)
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be read and is written anew: %s", kept, error)
            shutil.rmtree(kept, ignore_errors=True)
    with _new_folder(kept.parent) as name:
        new = Path(name)
        _convert(path, new)
        description = _read(new)
        if new.parent == kept.parent:
            with suppress(OSError):  # another process was faster
                new.rename(kept)
                logger.info("later starts find it in %s", kept)
    return description


def _new_folder(parent: Path) -> TemporaryDirectory[str]:
    """Yield a folder to write to, in the cache folder if it is writable."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(dir=parent, prefix="new-", ignore_cleanup_errors=True)
    except OSError as error:
        logger.warning("the tokenizer is converted at every start, since it cannot be kept: %s", error)
        return TemporaryDirectory(prefix="icm-gguf-", ignore_cleanup_errors=True)


def _convert(path: Path, folder: Path) -> None:
    started = time.monotonic()
    logger.info("converting the tokenizer of %s, which takes minutes where the vocabulary is large", path.name)
    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
    config.save_pretrained(folder)
    logger.info("converted in %.0f s", time.monotonic() - started)


def _read(folder: Path) -> Description:
    return Description(AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))


def cache_folder() -> Path:
    """The cache folder of converted tokenizers: below XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "icm" / "gguf"
