"""A language model in a GGUF file scores as the folder that it was written from."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.engine import CacheLimits, Engine
from inference.model import gguf_file
from inference.model.gguf_file import UnreadableModel, is_gguf
from inference.model.language_model import LanguageModel, Source, load, token_arrays
from scripts.write_gguf import write_gguf
from tests.support.inference.tiny import LINES, llama, train_tokenizer

LLAMA_3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
PROMPTS = token_arrays([[0, 5, 6, 7], [0, *range(40, 90)], [399, 2]])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of each test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "icm" / "gguf"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads of queries over one of keys, so that both are turned their own way."""
    made = tmp_path_factory.mktemp("gguf") / "tiny"
    llama(key_value_heads=1).save_pretrained(made)
    train_tokenizer().save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    target = folder.parent / "tiny.gguf"
    write_gguf(folder, target, cuts="gpt-2")
    return target


def largest_difference(first: LanguageModel, second: LanguageModel) -> float:
    return max(float((first.plain(prompt) - second.plain(prompt)).abs().max()) for prompt in PROMPTS)


def of(model: Path) -> LanguageModel:
    return load(Source(str(model), "cpu"))


def test_a_file_scores_and_cuts_text_as_its_folder(folder: Path, file: Path) -> None:
    read, expected = of(file), of(folder)
    assert largest_difference(read, expected) < 1e-5
    assert (read.name, read.context_tokens, read.vocabulary) == ("tiny.gguf", 256, 400)
    for line in LINES:
        assert read.tokenizer.encode(line) == expected.tokenizer.encode(line)
        assert read.tokenizer.encode(line)[0] == 0  # the beginning's token


def test_a_file_is_served_with_a_prefix_cache(file: Path) -> None:
    assert Engine(of(file), CacheLimits(4096, 64)).cache_capacity == 4096


def test_quantised_weights_are_those_that_the_file_has(folder: Path, tmp_path: Path) -> None:
    write_gguf(folder, tmp_path / "q8.gguf", quantised=True)
    rounded = tmp_path / "rounded"
    train_tokenizer().save_pretrained(rounded)
    (rounded / "config.json").write_bytes((folder / "config.json").read_bytes())
    state = load_file(folder / "model.safetensors")
    save_file(
        {name: as_q8(weights) for name, weights in state.items()}, rounded / "model.safetensors", {"format": "pt"}
    )
    read = of(tmp_path / "q8.gguf")
    assert read.dtype == torch.float32
    assert largest_difference(read, of(rounded)) < 1e-5
    assert largest_difference(read, of(folder)) > 1e-3


def as_q8(weights: torch.Tensor) -> torch.Tensor:
    kind = gguf.GGMLQuantizationType.Q8_0
    return (
        torch.from_numpy(gguf.dequantize(gguf.quantize(weights.numpy(), kind), kind)) if weights.ndim > 1 else weights
    )


def test_files_are_distinguished_by_their_content(folder: Path, file: Path, tmp_path: Path) -> None:
    write_gguf(folder, tmp_path / "tiny.gguf", quantised=True)
    assert len({of(file).sha, of(tmp_path / "tiny.gguf").sha, of(folder).sha, None}) == 4
    assert of(file).sha == of(file).sha


def test_the_tokenizer_is_converted_once(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = of(file)
    [kept] = cache.iterdir()
    assert kept.name.startswith(f"{first.sha}"[:32])
    monkeypatch.setattr(gguf_file, "_convert", _fail)
    second = of(file)
    assert largest_difference(first, second) == 0
    assert [second.tokenizer.encode(line) for line in LINES] == [first.tokenizer.encode(line) for line in LINES]


def test_a_damaged_cache_is_written_anew(file: Path, cache: Path) -> None:
    first = of(file)
    [kept] = cache.iterdir()
    (kept / "tokenizer.json").unlink()
    (kept / "tokenizer_config.json").write_text("{", "utf-8")
    assert of(file).tokenizer.encode(LINES[0]) == first.tokenizer.encode(LINES[0])
    assert (kept / "tokenizer.json").exists()


def test_without_a_place_for_the_cache_the_model_is_read_all_the_same(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "occupied").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "occupied"))
    assert of(file).vocabulary == 400
    assert "converted at every start" in caplog.text


def _fail(*_: object) -> None:
    raise AssertionError("converted again")


def rewritten(
    file: Path,
    target: Path,
    *,
    architecture: str = "llama",
    left_out: str = "",
    added: Mapping[str, np.ndarray[Any, np.dtype[np.float32]]] = MappingProxyType({}),
    **fields: int,
) -> Path:
    """A copy with other metadata or other tensors."""
    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(target, architecture)
    for name, value in fields.items():
        writer.add_uint16(name.replace("__", "."), value)
    for name, field in reader.fields.items():
        if name.startswith(("llama.", "tokenizer.")):
            kind = field.types[0]
            of_items = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, of_items)
    kept = {tensor.name: np.array(tensor.data) for tensor in reader.tensors if tensor.name != left_out}
    for name, weights in {**kept, **added}.items():
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def absent(file: Path, target: Path) -> Path:
    return target


def other_format(file: Path, target: Path) -> Path:
    target.write_bytes(b"PK\3\4" + file.read_bytes()[4:])
    return target


def empty(file: Path, target: Path) -> Path:
    target.touch()
    return target


def cut_in_its_head(file: Path, target: Path) -> Path:
    target.write_bytes(file.read_bytes()[:3000])
    return target


def cut_in_its_weights(file: Path, target: Path) -> Path:
    target.write_bytes(file.read_bytes()[:-5000])
    return target


def unknown_architecture(file: Path, target: Path) -> Path:
    return rewritten(file, target, architecture="abacus")


def one_of_two_parts(file: Path, target: Path) -> Path:
    return rewritten(file, target, split__count=2)


def lacking_weights(file: Path, target: Path) -> Path:
    return rewritten(file, target, left_out="blk.1.attn_q.weight")


def scaled_by_length(file: Path, target: Path) -> Path:
    return rewritten(file, target, added={"rope_factors_long.weight": np.ones(32, np.float32)})


def scaled_otherwise(file: Path, target: Path) -> Path:
    return rewritten(file, target, added={"rope_freqs.weight": np.ones(16, np.float32)})


BROKEN: dict[Callable[[Path, Path], Path], str] = {
    absent: "there is no file",
    other_format: "is no GGUF file",
    empty: "is no GGUF file",
    cut_in_its_head: "damaged GGUF file",
    cut_in_its_weights: "part of a GGUF file: its last 5000 bytes are missing",
    unknown_architecture: r"transformers [\d.]+ cannot read .*\(architecture abacus\): .*not supported",
    one_of_two_parts: "is one of 2 parts",
    lacking_weights: r"lacks 1 weights .*layers\.1\.self_attn\.q_proj",
    scaled_by_length: "by the prompt's length",
    scaled_otherwise: "do not fit its architecture",
}


@pytest.mark.parametrize("damage", BROKEN, ids=lambda damage: damage.__name__)
def test_unreadable_files_are_refused_with_the_reason(
    damage: Callable[[Path, Path], Path], file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableModel, match=BROKEN[damage]):
        of(damage(file, tmp_path / "broken.gguf"))


def test_rotary_angles_are_scaled_as_the_file_says(tmp_path: Path) -> None:
    """As llama.cpp's converter writes Llama 3.1: plain angles, and what to divide their frequencies by."""
    plain, scaled = llama(), llama(rope={**LLAMA_3_SCALING, "rope_theta": 10000.0})
    plain.save_pretrained(tmp_path / "plain")
    scaled.save_pretrained(tmp_path / "scaled")
    for name in ("plain", "scaled"):
        train_tokenizer().save_pretrained(tmp_path / name)
    write_gguf(tmp_path / "plain", tmp_path / "plain.gguf")
    factors = (plain.model.rotary_emb.inv_freq / scaled.model.rotary_emb.inv_freq).numpy()
    read = of(rewritten(tmp_path / "plain.gguf", tmp_path / "scaled.gguf", added={"rope_freqs.weight": factors}))
    assert largest_difference(read, of(tmp_path / "scaled")) < 1e-5
    assert largest_difference(read, of(tmp_path / "plain")) > 1e-3


def test_a_missing_package_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_file, "_PACKAGES", ("gguf", "no_such_package"))
    with pytest.raises(UnreadableModel, match="install no_such_package: pip install"):
        of(file)


def test_folders_and_names_of_the_hub_are_no_files(folder: Path, file: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    assert [is_gguf(str(model)) for model in (file, tmp_path / "absent.GGUF")] == [True, True]
    assert not any(is_gguf(str(model)) for model in (folder, tmp_path / "folder.gguf", "bartowski/Llama-3.2-1B-GGUF"))
