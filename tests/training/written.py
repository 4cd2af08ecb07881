"""Writes specifications and rows as files."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from inference.settings import SMALL_MODEL

TENS = {50: "fifty", 60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety"}
ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LABELS = ("True", "False")


def number(value: int) -> str:
    """The number in words, from 51 to 99."""
    ten, one = value // 10 * 10, value % 10
    return f"{TENS[ten]}-{ONES[one - 1]}" if one else TENS[ten]


def comparisons(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Claims that the small model knows about, half of them true, with their gold labels."""
    rng = Random(seed)
    rows = []
    for place in range(count):
        low, high = sorted(rng.sample(range(51, 100), 2))
        first, second = (high, low) if place % 2 else (low, high)
        claim = f"{number(first).capitalize()} is larger than {number(second)}."
        label = "True" if place % 2 else "False"
        rows.append({"prompt": f"{claim}\nI think this claim is", "label": label, "gold": label})
    return rows


def pairs(count: int) -> list[dict[str, Any]]:
    """Pairs of claims of opposite order, of which the true one is chosen."""
    rng, made = Random(0), []
    for place in range(count):
        low, high = (number(value) for value in sorted(rng.sample(range(51, 100), 2)))
        claims = f"{high.capitalize()} is larger than {low}.", f"{low.capitalize()} is larger than {high}."
        made.append({"chosen": claims[0], "rejected": claims[1], "weight": 0.9, "chosen_first": place % 3 == 0})
    return made


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def write_spec(folder: Path, rows: Iterable[Mapping[str, Any]] | None = None, **fields: Any) -> Path:
    """A specification beside its rows: 12 steps of the small model, which take a second."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "rows.jsonl", comparisons(64) if rows is None else rows)
    spec = {
        "base": str(SMALL_MODEL),
        "examples": "rows.jsonl",
        "labels": LABELS,
        "separator": "\n\n",
        "holdout": 0.25,
        "epochs": 2,
        "rank": 4,
        "learning_rate": 0.01,
        "checkpoint_steps": 2,
        "device": "cpu",
        **fields,
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(spec), "utf-8")
    return path


def reward_spec(folder: Path, rows: Iterable[Mapping[str, Any]] | None = None, **fields: Any) -> Path:
    """A specification of kind `reward` beside its pairs."""
    settings = {"kind": "reward", "labels": [], "separator": "", "rank": 8, **fields}
    return write_spec(folder, pairs(64) if rows is None else rows, **settings)
