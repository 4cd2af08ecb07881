"""Divides a data set into shards of related rows, which never part."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.config import JobConfig, Method
from service.entities import NewShard

ANCHORED = frozenset({Method.ICM, Method.BOOTSTRAP})  # methods whose later shards read the anchor's labels


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """Which shard each row belongs to, and the shards to queue."""

    shard_of_row: tuple[int, ...]
    shards: tuple[NewShard, ...]


def plan_shards(config: JobConfig, groups: Sequence[int]) -> ShardPlan:
    """Deal groups of related rows out to shards; `groups` gives each row's group.

    A small data set is one shard; otherwise shard 0 is the anchor, drawn evenly over the
    data set, and the rest follows in the user's order.
    """
    sizes = Counter(groups)
    search = config.search
    if config.method not in ANCHORED:
        return _plan(groups, _fill(sizes, list(sizes), search.shard_rows), blocked=False)
    if len(groups) <= 2 * search.anchor_rows:
        return _plan(groups, [list(sizes)], blocked=False)
    anchor = _anchor(sizes, search.anchor_rows)
    taken = set(anchor)
    rest = [group for group in sizes if group not in taken]
    return _plan(groups, [anchor, *_fill(sizes, rest, search.shard_rows)], blocked=True)


def _anchor(sizes: Mapping[int, int], max_rows: int) -> list[int]:
    """Groups evenly spread over the data set until the anchor is full; at least one."""
    anchor: list[int] = []
    rows = 0
    for group in _spread(list(sizes)):
        if anchor and rows + sizes[group] > max_rows:
            break
        anchor.append(group)
        rows += sizes[group]
    return anchor


def _spread(groups: list[int]) -> list[int]:
    """All groups, ordered so that every beginning of the list covers the whole evenly (golden-ratio steps)."""
    return sorted(groups, key=lambda group: (group * 0.6180339887498949) % 1.0)


def _fill(sizes: Mapping[int, int], groups: list[int], max_rows: int) -> list[list[int]]:
    """Groups in order, a new shard begun whenever the current one is full."""
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
    rows = [0] * len(shards)
    for shard in shard_of_row:
        rows[shard] += 1
    return ShardPlan(
        shard_of_row=shard_of_row,
        shards=tuple(NewShard(index=i, rows=n, blocked=blocked and i > 0) for i, n in enumerate(rows)),
    )
