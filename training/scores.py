"""What a trained language model says of further rows: a file of log-probabilities beside what was trained."""

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
    """A line of JSON for each row, in the order of the rows."""
    lines = [
        json.dumps({"id": name, "log_probabilities": list(values)}, ensure_ascii=False) + "\n"
        for name, values in zip(scored.ids, scored.log_probabilities, strict=True)
    ]
    write_whole(file, "".join(lines).encode())


def scores_told(file: Path) -> dict[str, Any]:
    """What the manifest says of the file; empty where nothing was scored."""
    return {"scores": {"file": file.name, "sha256": sha256_of(file)}} if file.exists() else {}
