"""Scores of further rows by a trained language model: a file of log-probabilities beside the artifact."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.optimisation.files import sha256_of, write_whole


@dataclass(frozen=True, slots=True)
class Scored:
    """Each row's id, log p(label | prompt) in nats for every label in the specification's order, and the tokens read.

    `tokens` counts each row's prompt once, with its longest label.
    """

    ids: Sequence[str]
    log_probabilities: Sequence[Sequence[float]]
    tokens: int


def write_scores(file: Path, scored: Scored) -> None:
    """Write a line of JSON for each row, in the order of the rows."""
    lines = [
        json.dumps({"id": name, "log_probabilities": list(values)}, ensure_ascii=False) + "\n"
        for name, values in zip(scored.ids, scored.log_probabilities, strict=True)
    ]
    write_whole(file, "".join(lines).encode())


def scores_entry(file: Path) -> dict[str, Any]:
    """The manifest's entry about the file; empty if there is none."""
    return {"scores": {"file": file.name, "sha256": sha256_of(file)}} if file.exists() else {}
