"""The artifact of a run: a folder of safetensors and JSON, named by its content, and a manifest about it."""

import hashlib
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from training.optimisation.adapters import save_adapter
from training.optimisation.bench import Bench
from training.optimisation.files import files_of, name_within, publish_folder, sha256_of
from training.scores import scores_entry
from training.spec import Method

MANIFEST, REPORT, SCORES = "manifest.json", "report.json", "scores.jsonl"
_FORMAT = 1
_FOLDERS = {Method.LORA: "adapter", Method.FULL: "model"}
_PATHS = (
    "base",
    "examples",
    "score",
    "controls",
    "checkpoint_steps",
    "device",
    "rows_at_once",
)  # no part of the artifact
_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "trl")
# Files of the base that a whole language model needs beside its weights, to load by name.
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.jinja")


def artifact_folder(bench: Bench) -> Path:
    """The folder of the artifact."""
    return bench.folder / _FOLDERS[bench.spec.method]


def publish(module: Any, bench: Bench) -> None:
    """Write the artifact, whole or not at all."""
    staged = bench.folder / ".artifact.staged"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    if bench.spec.method is Method.LORA:
        save_adapter(module, staged, bench.base)
    else:
        _save_whole(module, staged, bench)
    publish_folder(staged, artifact_folder(bench))


def publish_kept(kept: Path, bench: Bench) -> None:
    """Publish an adapter that an earlier epoch saved as the artifact, whole or not at all."""
    staged = bench.folder / ".artifact.staged"
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(kept, staged)
    publish_folder(staged, artifact_folder(bench))


def content_hash(folder: Path) -> str:
    """SHA-256 over the lines that `sha256sum` prints for the folder's files, in the order of their names as bytes."""
    lines = [f"{sha256_of(file)}  {name_within(file, folder)}\n" for file in files_of(folder)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def manifest(bench: Bench, examples: Mapping[str, Any]) -> dict[str, Any]:
    """Build the manifest; it is the same for the same bytes, so it has no times and paths."""
    folder = artifact_folder(bench)
    files = [
        {"name": name_within(file, folder), "bytes": file.stat().st_size, "sha256": sha256_of(file)}
        for file in files_of(folder)
    ]
    settings = {name: value for name, value in bench.spec.without_folders.items() if name not in _PATHS}
    return {
        "format": _FORMAT,
        "base": bench.base.identity,
        "settings": {**settings, "learning_rate": bench.spec.rate, "alpha": bench.spec.scale},
        "examples": examples,
        "libraries": {name: version(name) for name in _LIBRARIES},
        "artifact": {"folder": folder.name, "sha256": content_hash(folder), "files": files},
        **scores_entry(bench.folder / SCORES),
    }


def _save_whole(module: Any, staged: Path, bench: Bench) -> None:
    module.config.use_cache = True
    module.config._name_or_path = bench.base.name  # noqa: SLF001 - else a path of this machine is written
    module.save_pretrained(staged, safe_serialization=True)
    for pattern in _TOKENIZER_FILES:
        for file in bench.base.folder.glob(pattern):
            shutil.copyfile(file, staged / file.name)
