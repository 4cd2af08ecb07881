"""Prompts that a policy learns to continue."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.rows import Fields, digest, group_of, read_rows, refused
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
        rows.append(PromptRow(line, row["prompt"], group_of(line, row)))
    if not rows:
        raise Refused(f"examples: {str(path)!r} has no rows")
    return tuple(rows)


def digest_of(rows: Sequence[PromptRow]) -> str:
    """SHA-256 over everything that a training may see."""
    return digest([row.prompt, row.group] for row in rows)
