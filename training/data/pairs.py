"""Pairs of texts, one better than the other, for training a reward model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.rows import Fields, digest, group_of, read_rows, refused, weight_of
from training.errors import Refused

_WANTED: Fields = {"chosen": (str,), "rejected": (str,)}
_OPTIONAL: Fields = {
    "prompt": (str,),
    "weight": (int, float),
    "group": (str,),
    "chosen_first": (bool,),
    "gold": (str,),
    "id": (str,),
}
_GOLD = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts, each behind the same optional prompt.

    `chosen_first` gives the order in which the judge saw the pair; None if unknown. `gold_agrees` says whether the
    chosen text is the better one by gold, which only the report and two controls read; None without gold.
    """

    line: int
    chosen: str
    rejected: str
    weight: float = 1.0
    group: str = ""
    chosen_first: bool | None = None
    gold_agrees: bool | None = None


def digest_of(pairs: Sequence[Pair]) -> str:
    """SHA-256 over everything that a training may see, which leaves gold out."""
    return digest([pair.chosen, pair.rejected, pair.weight, pair.group] for pair in pairs)


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """Read pairs from JSONL: chosen and rejected; other fields are optional (docs/training.md). Raises Refused."""
    rows: list[Pair] = []
    for line, row in read_rows(path, _WANTED, _OPTIONAL):
        if row["chosen"] == row["rejected"]:
            raise refused(line, "chosen and rejected are the same text; leave the pair out")
        before = row.get("prompt", "")
        texts = before + row["chosen"], before + row["rejected"]
        if not all(texts):
            raise refused(line, "chosen and rejected: a text must not be empty")
        rows.append(
            Pair(line, *texts, weight_of(line, row), group_of(line, row), row.get("chosen_first"), _gold_of(line, row))
        )
    if not rows:
        raise Refused(f"examples: {str(path)!r} has no rows")
    return tuple(rows)


def _gold_of(line: int, row: Mapping[str, Any]) -> bool | None:
    if (gold := row.get("gold")) is None:
        return None
    if gold not in _GOLD:
        raise refused(line, f"gold: must be chosen or rejected, not {json.dumps(gold)[:60]}")
    return bool(gold == "chosen")
