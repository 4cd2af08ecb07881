"""The record of a trained adapter, to which a job's `model` resolves if it names a finished training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.identifiers import JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedAdapter:
    """The LoRA adapter of a finished training, and the language model that it was trained on.

    `sha256` is the hash of its content, and its name at inference servers: a name that never gets another content.
    `backend` is the operator's name of the base; the training read `base`, `fingerprint` and `revision` from its files.
    """

    training_id: JobId
    sha256: str
    backend: str
    rank: int
    base: str = ""  # the last part of the folder, or the name on the hub
    fingerprint: str | None = None
    revision: str | None = None  # on the hub

    @property
    def base_in_words(self) -> str:
        """The base's name, with the hash of its content where it is known."""
        return " ".join(filter(None, (self.base or self.backend, self.fingerprint and f"({self.fingerprint})")))


def trained_adapter(training_id: JobId, backend: str, sha256: str, manifest: Mapping[str, Any]) -> TrainedAdapter:
    """Read the record from a training's manifest (docs/training.md#files-in-dir)."""
    base = manifest.get("base") or {}
    return TrainedAdapter(
        training_id=training_id,
        sha256=sha256,
        backend=backend,
        rank=(manifest.get("settings") or {}).get("rank") or 0,
        base=base.get("name") or "",
        fingerprint=base.get("fingerprint"),
        revision=base.get("revision"),
    )
