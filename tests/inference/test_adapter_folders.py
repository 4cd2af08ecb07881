"""What is read of an adapter's folder, which digest identifies it, and what is refused with which reason."""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.adapters.folder import read_adapter
from inference.errors import AdapterNotFound, AdapterRefused
from inference.model.gguf_file import UnreadableModel
from inference.model.language_model import LanguageModel, Source, load, token_arrays
from scripts.write_gguf import write_gguf
from tests.inference.lora import merged, read, save_adapter
from tests.support.inference.tiny import llama, train_tokenizer

SHA, OTHER = "ab" * 32, "cd" * 32
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
A_LAYER = "base_model.model.model.layers.0.self_attn.q_proj.lora_"


@pytest.fixture(scope="module")
def base() -> LanguageModel:
    return LanguageModel(llama(), train_tokenizer(), "tiny", SHA)


@pytest.fixture
def folder(tmp_path: Path, base: LanguageModel) -> Path:
    return save_adapter(tmp_path / "adapter", base.module)


def set_fields(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    (folder / CONFIG).write_text(json.dumps({**config, **fields}))


def set_matrices(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replace, add or (None) remove matrices; `A` and `B` are those of one layer."""
    matrices = load_file(folder / WEIGHTS)
    for name, tensor in changes.items():
        key = f"{A_LAYER}{name}.weight" if name in "AB" else name
        matrices.pop(key, None)
        if tensor is not None:
            matrices[key] = tensor
    save_file(matrices, folder / WEIGHTS)


def refusal(folder: Path, base: LanguageModel, **options: Any) -> str:
    with pytest.raises(AdapterRefused) as refused:
        read_adapter(folder, base, **{"max_rank": 64, **options})
    return str(refused.value)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"use_dora": True}, "use_dora is set, which scales whole weights"),
        ({"modules_to_save": ["score"]}, "modules_to_save is set, which replaces whole layers"),
        ({"bias": "lora_only"}, "bias is 'lora_only'"),
        ({"lora_bias": True}, "lora_bias is set"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4'"),
        ({"use_of_the_future": {"depth": 3}}, "use_of_the_future is set, which may change scores"),
        ({"rank_pattern": {r"layers\.\d+\.q_proj": 8}}, "only names of layers are read"),
        ({"r": 0}, "r is missing, or not of the kind"),
        ({"r": "4"}, "r is missing, or not of the kind"),
        ({"lora_alpha": float("nan")}, "lora_alpha is missing, or not of the kind"),
        ({"r": 65}, "its rank is 65; this server takes 64 (--max-adapter-rank)"),
        ({"rank_pattern": {"q_proj": 128}}, "its rank is 128; this server takes 64"),
        ({"revision": OTHER}, f"another base: it names {OTHER}, and tiny is {SHA}"),
        ({"target_modules": ["q_proj"]}, "not named in target_modules, for 'model.layers.0.mlp.down_proj'"),
        ({"target_modules": ["lm_head"]}, "has no matrices for 'lm_head'"),
        ({"r": 5}, "has the shape (4, 96); rank and base want (5, 96)"),
    ],
    ids=str,
)  # fmt: skip
def test_an_adapter_that_would_not_score_as_trained_is_refused(
    fields: dict[str, Any], why: str, folder: Path, base: LanguageModel
) -> None:
    set_fields(folder, **fields)
    assert why in refusal(folder, base)


@pytest.mark.parametrize(
    ("matrices", "why"),
    [
        ({"A": None}, "matrix A of 'model.layers.0.self_attn.q_proj' has the shape None"),
        ({"B": torch.zeros(4, 128)}, "has the shape (4, 128); rank and base want (128, 4)"),
        ({"A": torch.full((4, 64), float("inf"))}, "infinite, undefined"),
        ({"A": torch.zeros(4, 64, dtype=torch.int64)}, "of an unknown form"),
        ({f"{A_LAYER}magnitude_vector": torch.zeros(1)}, "which is no matrix of LoRA for a linear layer"),
        ({"base_model.model.lm_head.weight": torch.zeros(1)}, "which is no matrix of LoRA for a linear layer"),
        ({"base_model.model.model.layers.2.mlp.up_proj.lora_A.weight": torch.zeros(4, 64)}, "no linear layer of that"),
        ({"base_model.model.model.norm.lora_A.weight": torch.zeros(4, 64)}, "no linear layer of that name"),
        ({"base_model.model.model.embed_tokens.lora_A.weight": torch.zeros(4, 64)}, "no linear layer of that name"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_matrices_that_do_not_fit_the_base_are_refused(
    matrices: dict[str, torch.Tensor | None], why: str, folder: Path, base: LanguageModel
) -> None:
    set_matrices(folder, **matrices)
    assert why in refusal(folder, base)


def test_a_base_of_another_size_is_recognised_by_the_shapes(folder: Path) -> None:
    other = LanguageModel(llama(key_value_heads=1), train_tokenizer(), "other", SHA)
    assert "of 'model.layers.0.self_attn.k_proj' has the shape (128, 4); rank and base want (64, 4)" in refusal(
        folder, other
    )


def test_pickled_weights_are_never_read(folder: Path, base: LanguageModel) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({"a": 1}))
    assert "its weights are pickled (adapter_model.bin)" in refusal(folder, base)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        (WEIGHTS, b"", "is damaged"),
        (WEIGHTS, pickle.dumps({"a": 1}), "is damaged"),
        (CONFIG, b"[]", "this is no JSON object"),
        (CONFIG, b"{", "this is no JSON object"),
        (CONFIG, b"[" * 100_000, "this is no JSON object"),
        (CONFIG, b"{}", "peft_type is missing"),
        (CONFIG, b" " * ((1 << 20) + 1), "has 1048577 bytes, more than"),
    ],
    ids=["empty", "pickle", "list", "half an object", "too deep", "no fields", "a megabyte"],
)
def test_damaged_files_are_reported(name: str, content: bytes, why: str, folder: Path, base: LanguageModel) -> None:
    (folder / name).write_bytes(content)
    assert why in refusal(folder, base)


def test_a_truncated_file_of_weights_is_reported(folder: Path, base: LanguageModel) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])
    assert "is damaged" in refusal(folder, base)


def test_weights_far_larger_than_matrices_of_that_rank_are_not_read(folder: Path, base: LanguageModel) -> None:
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(1 << 30)
    assert "more than the adapter's own take" in refusal(folder, base)


def test_a_folder_without_an_adapter_is_reported(tmp_path: Path, base: LanguageModel) -> None:
    with pytest.raises(AdapterNotFound, match="there is no folder"):
        read(tmp_path / "none", base)
    assert "the folder has no adapter_config.json" in refusal(tmp_path, base)


@pytest.mark.parametrize("start", ["gaussian", "eva", False])
def test_the_initialisation_of_the_matrices_does_not_matter(start: Any, folder: Path, base: LanguageModel) -> None:
    set_fields(folder, init_lora_weights=start, lora_dropout=0.5, peft_version="9")
    assert read(folder, base).rank == 4


@pytest.mark.parametrize(
    "fields", [{"target_modules": r".*_proj"}, {"layers_to_transform": [1]}, {"exclude_modules": ["lm_head"]}], ids=str
)
def test_a_pattern_of_layers_selects_the_layers_of_the_file(
    fields: dict[str, Any], folder: Path, base: LanguageModel
) -> None:
    set_fields(folder, **fields)
    assert len(read(folder, base).layers) == 14


@pytest.mark.parametrize("named", [None, "main", SHA, "0" * 40])
def test_a_base_that_is_named_rightly_or_by_no_fingerprint_is_taken(
    named: str | None, folder: Path, base: LanguageModel, caplog: pytest.LogCaptureFixture
) -> None:
    set_fields(folder, revision=named)
    read(folder, base)
    assert ("does not name its base" in caplog.text) == (named != SHA)


def write_manifest(folder: Path, path: Path, **base: str) -> None:
    """As `training` writes it."""
    files = [
        {"name": file.name, "bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in sorted(folder.iterdir())
    ]
    named = {"name": "tiny", "fingerprint": SHA, "revision": None, **base}
    path.write_text(json.dumps({"format": 1, "base": named, "artifact": {"folder": folder.name, "files": files}}))


@pytest.mark.parametrize("beside", [True, False])
def test_a_manifest_vouches_for_base_and_files(*, beside: bool, folder: Path, base: LanguageModel) -> None:
    path = (folder.parent if beside else folder) / "manifest.json"
    write_manifest(folder, path)
    read(folder, base)
    write_manifest(folder, path, fingerprint=OTHER)
    assert f"another base: it names {OTHER}" in refusal(folder, base)
    write_manifest(folder, path)
    set_fields(folder, lora_alpha=7)
    assert "adapter_config.json is not the file that manifest.json describes" in refusal(folder, base)


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "an extension of a browser"}'])
def test_another_programs_manifest_is_ignored(content: str, folder: Path, base: LanguageModel) -> None:
    (folder.parent / "manifest.json").write_text(content)
    assert read(folder, base).rank == 4


def test_a_manifest_is_found_from_within_the_folder_and_has_a_bound(
    folder: Path, base: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder.parent / "manifest.json"
    write_manifest(folder, path, fingerprint=OTHER)
    monkeypatch.chdir(folder)
    assert "it was trained on another base" in refusal(Path(), base)
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    assert "manifest.json has more than 16777216 bytes" in refusal(folder, base)


def test_a_manifest_of_another_folder_is_ignored(folder: Path, base: LanguageModel) -> None:
    write_manifest(folder, folder.parent / "manifest.json", fingerprint=OTHER)
    assert read(folder.rename(folder.parent / "moved"), base).rank == 4


def test_the_fingerprint_is_that_of_base_and_files(folder: Path, base: LanguageModel) -> None:
    first = read(folder, base).sha
    assert first == read(folder.rename(folder.parent / "moved"), base).sha
    moved = folder.parent / "moved"
    assert read(moved, LanguageModel(base.module, base.tokenizer, "tiny", OTHER)).sha != first
    set_matrices(moved, A=load_file(moved / WEIGHTS)[f"{A_LAYER}A.weight"] * 1.0001)
    changed = read(moved, base).sha
    set_fields(moved, lora_alpha=6.5)
    assert len({first, changed, read(moved, base).sha}) == 3


def test_no_link_leads_out_of_the_folder_that_is_allowed(folder: Path, base: LanguageModel, tmp_path: Path) -> None:
    root = tmp_path / "allowed"
    inside = root / "adapter"
    inside.mkdir(parents=True)
    (inside / CONFIG).write_bytes((folder / CONFIG).read_bytes())
    (inside / WEIGHTS).symlink_to(folder / WEIGHTS)
    assert read(inside, base).rank == 4
    assert "a link to a place outside" in refusal(inside, base, within=root)


def test_an_adapter_scores_over_a_gguf_base_and_is_refused_there_if_it_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = tmp_path / "tiny"
    llama().save_pretrained(made)
    train_tokenizer().save_pretrained(made)
    write_gguf(made, tmp_path / "tiny.gguf", cuts="gpt-2")
    first, file = load(Source(str(made), "cpu")), load(Source(str(tmp_path / "tiny.gguf"), "cpu"))
    folder = save_adapter(tmp_path / "adapter", first.module)
    expected = LanguageModel(merged(first.module, folder, 1.5), train_tokenizer(), "merged")
    (prompt,) = token_arrays([[0, *range(40, 90)]])
    with file.adapted(read(folder, file)):
        assert float((file.plain(prompt) - expected.plain(prompt)).abs().max()) < 5e-5
    set_fields(folder, revision=first.sha)
    assert read(folder, first).rank == 4
    assert "it was trained on another base" in refusal(folder, file)


def test_an_adapter_is_no_language_model(folder: Path) -> None:
    with pytest.raises(UnreadableModel, match="name its base with --model, and the adapter with --adapter"):
        load(Source(str(folder), "cpu"))
