"""Divides a data set into shards: related rows never part, and a shard's prompt fits the context."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.config import JobConfig, Method
from service.entities import NewShard

ANCHOR_SHARE = 0.4  # of the context, where later shards need room behind the anchor's rows
SHARD_SHARE = 0.4
WHOLE_SHARE = 0.85  # of the context, where all rows go into one shard


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """Which shard each row belongs to, and the shards to queue."""

    shard_of_row: tuple[int, ...]
    shards: tuple[NewShard, ...]


def plan_shards(
    config: JobConfig, groups: Sequence[int], demonstration_tokens: Sequence[int], context_tokens: int
) -> ShardPlan:
    """Deal groups of related rows out to shards.

    `groups` gives each row's group and `demonstration_tokens` its length as a
    demonstration. Where everything fits one shard there is one; otherwise shard 0 is
    the anchor, drawn evenly over the data set, and the rest follows in the user's order.
    """
    sizes: dict[int, tuple[int, int]] = {}
    for group, tokens in zip(groups, demonstration_tokens, strict=True):
        rows, total = sizes.get(group, (0, 0))
        sizes[group] = (rows + 1, total + tokens)
    if config.method is Method.ZERO_SHOT:
        return _plan(groups, _fill(sizes, list(sizes), config.search.shard_rows, None), blocked=False)
    if len(groups) <= config.search.anchor_rows and sum(demonstration_tokens) <= WHOLE_SHARE * context_tokens:
        return _plan(groups, [list(sizes)], blocked=False)
    anchor = _anchor(sizes, config.search.anchor_rows // 2, int(ANCHOR_SHARE * context_tokens))
    taken = set(anchor)
    rest = [group for group in sizes if group not in taken]
    later = _fill(sizes, rest, config.search.shard_rows, int(SHARD_SHARE * context_tokens))
    return _plan(groups, [anchor, *later], blocked=True)


def _anchor(sizes: dict[int, tuple[int, int]], max_rows: int, max_tokens: int) -> list[int]:
    """Groups evenly spread over the data set until the anchor is full; at least one."""
    order = _spread(list(sizes))
    anchor: list[int] = []
    rows = tokens = 0
    for group in order:
        more_rows, more_tokens = sizes[group]
        if anchor and (rows + more_rows > max_rows or tokens + more_tokens > max_tokens):
            break
        anchor.append(group)
        rows, tokens = rows + more_rows, tokens + more_tokens
    return anchor


def _spread(groups: list[int]) -> list[int]:
    """All groups, ordered so that every beginning of the list covers the whole evenly (golden-ratio steps)."""
    return sorted(groups, key=lambda group: (group * 0.6180339887498949) % 1.0)


def _fill(
    sizes: dict[int, tuple[int, int]], groups: list[int], max_rows: int, max_tokens: int | None
) -> list[list[int]]:
    """Groups in order, a new shard begun whenever the current one is full."""
    shards: list[list[int]] = []
    rows = tokens = 0
    for group in groups:
        more_rows, more_tokens = sizes[group]
        too_long = max_tokens is not None and tokens + more_tokens > max_tokens
        if not shards or rows + more_rows > max_rows or too_long:
            shards.append([])
            rows = tokens = 0
        shards[-1].append(group)
        rows, tokens = rows + more_rows, tokens + more_tokens
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
