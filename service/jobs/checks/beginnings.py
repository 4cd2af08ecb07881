"""Finds common prefixes of texts; compares by bisection, since `os.path.commonprefix` is slow for long texts."""

from collections.abc import Sequence
from itertools import pairwise


def common_length(one: str, other: str) -> int:
    """The length of the common prefix, found by bisection: Python compares long slices fast."""
    same, differs = 0, min(len(one), len(other)) + 1
    while differs - same > 1:
        middle = (same + differs) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            differs = middle
    return same


def common_beginning(texts: Sequence[str]) -> str:
    """The common prefix of all texts; empty if there are none."""
    if not texts:
        return ""
    first, last = min(texts), max(texts)  # every text between them in sorted order has their common prefix
    return first[: common_length(first, last)]


def shared_by_neighbours(texts: Sequence[str]) -> float:
    """The share of all characters that belong to the common prefix of a text and the one before it."""
    shared = sum(common_length(before, text) for before, text in pairwise(texts))
    return shared / max(1, sum(map(len, texts)))
