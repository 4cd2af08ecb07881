"""Divides rows that compare two texts into a part to label first and the rest, and merges the results of both."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icm.errors import UnsendableData
from service.presets import PRESETS, Preset
from service.values import counted

_GOLDEN = 0.6180339887498949

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Parts:
    """The positions of the rows to label first, and those of the others; a row and its twin are in the same part."""

    first: Sequence[int]
    rest: Sequence[int]
    pairs: int  # among the first


def comparison_columns(config: Mapping[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """The columns of both texts and of their group, by the configuration's relation. Raises UnsendableData."""
    task = config.get("task")
    own = task.get("relations") if isinstance(task, Mapping) else None
    preset = config.get("preset")
    relations = own if own is not None else PRESETS[Preset(preset)]["relations"] if preset in list(Preset) else []
    for relation in relations if isinstance(relations, list) else []:
        if isinstance(relation, Mapping) and relation.get("kind") == "antisymmetric":
            group = relation.get("group") or ()
            columns = (group,) if isinstance(group, str) else tuple(group)
            return str(relation.get("first")), str(relation.get("second")), columns
    raise UnsendableData(
        "the configuration has no relation antisymmetric, which names the columns of the two texts that a row compares"
    )


def divided(rows: Sequence[Row], columns: tuple[str, str, tuple[str, ...]], share: float) -> Parts:
    """Choose a share of the pairs, spread evenly over the data. Raises UnsendableData if that leaves no other pairs."""
    pairs: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        pairs.setdefault(_key(row, columns), []).append(position)
    count = max(1, round(share * len(pairs)))
    if count >= len(pairs):
        raise UnsendableData(
            f"{share:g} of {counted(len(pairs), 'pair')} leaves none to be labelled by the reward model"
        )
    spread = sorted(range(len(pairs)), key=lambda place: place * _GOLDEN % 1.0)[:count]
    groups = list(pairs.values())
    first = sorted(position for place in spread for position in groups[place])
    chosen = set(first)
    return Parts(first, [position for position in range(len(rows)) if position not in chosen], count)


def merged(parts: Parts, first: Iterable[bytes], rest: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of both results in the order of the rows that they came from."""
    chosen, one, other = set(parts.first), iter(first), iter(rest)
    for position in range(len(parts.first) + len(parts.rest)):
        yield next(one if position in chosen else other)


def digest(*parts: object) -> str:
    """A hash of a step's request for its Idempotency-Key, by which an interrupted command finds its earlier results."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def _key(row: Row, columns: tuple[str, str, tuple[str, ...]]) -> str:
    """The key of a pair, the same for a row and its twin."""
    first, second, group = columns
    texts = sorted(json.dumps(row.get(name), sort_keys=True) for name in (first, second))
    return json.dumps([texts, [row.get(name) for name in group]], sort_keys=True)
