"""Divides a data set into shards, without ever separating related rows."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from service.config import JobConfig
from service.identifiers import Label, Row
from service.records.jobs import NewShard

KNOWN_SHARE = 0.5  # largest share of known rows in the anchor, so that enough rows are left to search for


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """The shard of each row, and the shards to queue."""

    shard_of_row: tuple[int, ...]
    shards: tuple[NewShard, ...]


def plan_shards(
    config: JobConfig, groups: Sequence[int], known: Mapping[Row, Label] = MappingProxyType({})
) -> ShardPlan:
    """Distribute groups of related rows over shards; `groups` has each row's group.

    A small data set is one shard, and so is any that a strategy trains on as a whole. Otherwise shard 0
    is the anchor, drawn evenly from the data set, and the other shards follow in the user's order. Groups with
    known rows enter the anchor first, label by label in turn, until known rows make up KNOWN_SHARE of it.
    """
    sizes = Counter(groups)
    search = config.search
    if not config.method.reads_anchor:
        return _plan(groups, _fill(sizes, list(sizes), search.shard_rows), blocked=False)
    if config.trains or len(groups) <= 2 * search.anchor_rows:
        return _plan(groups, [list(sizes)], blocked=False)
    anchor = _anchor(sizes, search.anchor_rows, _labels_of_groups(groups, known))
    taken = set(anchor)
    rest = [group for group in sizes if group not in taken]
    return _plan(groups, [anchor, *_fill(sizes, rest, search.shard_rows)], blocked=True)


def _anchor(sizes: Mapping[int, int], max_rows: int, known: Mapping[int, Sequence[Label]]) -> list[int]:
    """Groups spread evenly over the data set until the anchor is full, at least one of them with rows to label.

    `known` has the labels of the known rows, by group.
    """
    spread = _spread(list(sizes))
    anchor = _known_part(sizes, max_rows, known, _in_turn(spread, known))
    rows = sum(sizes[group] for group in anchor)
    has_work = any(len(known[group]) < sizes[group] for group in anchor)
    taken = set(anchor)
    for group in spread:
        if group in taken or len(known.get(group, ())) == sizes[group]:
            continue
        if has_work and rows + sizes[group] > max_rows:
            break
        anchor.append(group)
        rows += sizes[group]
        has_work = True
    return anchor


def _labels_of_groups(groups: Sequence[int], known: Mapping[Row, Label]) -> dict[int, list[Label]]:
    """The labels of the known rows by group, for groups that have any."""
    labels: dict[int, list[Label]] = {}
    for row, label in known.items():
        labels.setdefault(groups[row], []).append(label)
    return labels


def _in_turn(groups: Sequence[int], known: Mapping[int, Sequence[Label]]) -> Iterable[int]:
    """The groups with known rows, one of each label in turn, so that frequent labels do not crowd out a rare one."""
    labels = sorted({label for found in known.values() for label in found})
    queues = [[group for group in groups if label in known.get(group, ())] for label in labels]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*queues))
    return dict.fromkeys(group for group in turns if group is not None)


def _known_part(
    sizes: Mapping[int, int], max_rows: int, known: Mapping[int, Sequence[Label]], groups: Iterable[int]
) -> list[int]:
    """The groups with known rows that fit into the anchor, taken in order."""
    fitting: list[int] = []
    rows = known_rows = 0
    for group in groups:
        more = len(known[group])
        if rows + sizes[group] <= max_rows and known_rows + more <= KNOWN_SHARE * max_rows:
            fitting.append(group)
            rows, known_rows = rows + sizes[group], known_rows + more
    return fitting


def _spread(groups: list[int]) -> list[int]:
    """All groups, ordered so that every prefix of the list covers the data set evenly (golden-ratio steps)."""
    return sorted(groups, key=lambda group: (group * 0.6180339887498949) % 1.0)


def _fill(sizes: Mapping[int, int], groups: list[int], max_rows: int) -> list[list[int]]:
    """Distribute the groups in order; begin a new shard whenever the current one is full."""
    shards: list[list[int]] = []
    rows = 0
    for group in groups:
        if not shards or rows + sizes[group] > max_rows:
            shards.append([])
            rows = 0
        shards[-1].append(group)
        rows += sizes[group]
    return shards


def _plan(groups: Sequence[int], shards: list[list[int]], *, blocked: bool) -> ShardPlan:
    shard_of_group = {group: index for index, members in enumerate(shards) for group in members}
    shard_of_row = tuple(shard_of_group[group] for group in groups)
    rows = Counter(shard_of_row)
    return ShardPlan(
        shard_of_row=shard_of_row,
        shards=tuple(NewShard(index=i, rows=rows[i], blocked=blocked and i > 0) for i in range(len(shards))),
    )
