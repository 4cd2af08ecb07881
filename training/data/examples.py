"""Labelled rows for training. Gold labels stay separate, where only a control's training can reach them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.data.rows import Fields, digest, group_of, read_rows, refused, weight_of
from training.errors import Refused

_WANTED: Fields = {"prompt": (str,), "label": (str,)}
_OPTIONAL: Fields = {"weight": (int, float), "group": (str,), "gold": (str,), "id": (str,)}


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and the number of its label; rows of one group stay together."""

    line: int
    prompt: str
    label: int
    weight: float = 1.0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Examples:
    """The rows of a file. `gold` has a label's number for each row with gold; `digest` does not cover it."""

    rows: tuple[Example, ...]
    gold: tuple[int | None, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over everything that a training may see."""
        return digest([row.prompt, row.label, row.weight, row.group] for row in self.rows)

    def without_gold(self) -> list[int]:
        """The lines of the rows that have no gold label."""
        return [row.line for row, gold in zip(self.rows, self.gold, strict=True) if gold is None]


def read_examples(path: Path, labels: Sequence[str]) -> Examples:
    """Read the rows of a JSONL file: prompt, label, and optionally weight, group, gold, id. Raises Refused."""
    numbers = {label: number for number, label in enumerate(labels)}
    rows: list[Example] = []
    gold: list[int | None] = []
    for line, row in read_rows(path, _WANTED, _OPTIONAL):
        if not row["prompt"]:
            raise refused(line, "prompt: must not be empty")
        label = _number(line, row, "label", numbers)
        rows.append(Example(line, row["prompt"], label, weight_of(line, row), group_of(line, row)))
        gold.append(_number(line, row, "gold", numbers) if "gold" in row else None)
    if not rows:
        raise Refused(f"examples: {str(path)!r} has no rows")
    return Examples(tuple(rows), tuple(gold))


def relabelled(rows: Sequence[Example], labels: Sequence[int]) -> list[Example]:
    """The same rows with other labels."""
    return [replace(row, label=label) for row, label in zip(rows, labels, strict=True)]


def _number(line: int, row: dict[str, Any], field: str, numbers: dict[str, int]) -> int:
    if row[field] not in numbers:
        raise refused(line, f"{field}: {row[field]!r} is none of the labels {', '.join(map(repr, numbers))}")
    return numbers[row[field]]
