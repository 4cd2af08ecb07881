"""Prompts that a policy learns to continue."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from training.data.rows import Fields, read_rows, refused
from training.errors import Refused

_WANTED: Fields = {"prompt": (str,)}
_OPTIONAL: Fields = {"group": (str,), "id": (str,)}


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt; rows of one group stay together."""

    line: int
    prompt: str
    group: str


def read_prompts(path: Path) -> tuple[PromptRow, ...]:
    """The rows of a JSONL file: prompt, and on request group, id. Raises Refused."""
    rows: list[PromptRow] = []
    for line, row in read_rows(path, _WANTED, _OPTIONAL):
        if not row["prompt"]:
            raise refused(line, "prompt: must not be empty")
        rows.append(PromptRow(line, row["prompt"], row.get("group", f"\0{line}")))  # no group has that name
    if not rows:
        raise Refused(f"examples: {str(path)!r} has no rows")
    return tuple(rows)


def digest_of(rows: tuple[PromptRow, ...]) -> str:
    """SHA-256 over everything that a training may see."""
    return hashlib.sha256(json.dumps([[row.prompt, row.group] for row in rows]).encode()).hexdigest()
