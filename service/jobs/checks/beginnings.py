"""What texts have in common at their beginning. Character by character, as `os.path` does it, is slow for long ones."""

from collections.abc import Sequence
from itertools import pairwise


def common_length(one: str, other: str) -> int:
    """How many characters both begin with, found by halving: Python compares long pieces at once."""
    same, differs = 0, min(len(one), len(other)) + 1
    while differs - same > 1:
        middle = (same + differs) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            differs = middle
    return same


def common_beginning(texts: Sequence[str]) -> str:
    """What all of these texts begin with; of no texts, nothing."""
    if not texts:
        return ""
    first, last = min(texts), max(texts)  # whatever is sorted between them begins as both do
    return first[: common_length(first, last)]


def shared_by_neighbours(texts: Sequence[str]) -> float:
    """The share of the characters of these texts that the text before begins with, too."""
    shared = sum(common_length(before, text) for before, text in pairwise(texts))
    return shared / max(1, sum(map(len, texts)))
