"""Measures how alike labellings of the same rows are."""

from collections import Counter
from collections.abc import Sequence

from service.identifiers import Label
from service.search.rules.consistency import Labels


def agreement(others: Sequence[Labels], own: Labels) -> float:
    """How alike other labellings are to this one, from 0 to 1; a mirror image counts as the same. 1 without others."""
    likenesses = [min(_purity(own, other), _purity(other, own)) for other in others]
    return sum(likenesses) / len(likenesses) if likenesses else 1.0


def share_of_equal_labels(one: Labels, other: Labels) -> float:
    """The share of rows to which both give the same label."""
    return sum(other[row] == label for row, label in one.items()) / max(1, len(one))


def kappa(one: Labels, other: Labels) -> float | None:
    """Agreement beyond chance on the rows of both (Cohen 1960): 0 for random labels, 1 for equal ones.

    None if they share no row, or if both use one label only, so that chance explains all agreement.
    """
    both = [row for row in one if row in other]
    of_one, of_other = Counter(one[row] for row in both), Counter(other[row] for row in both)
    by_chance = sum(count * of_other[label] for label, count in of_one.items()) / max(1, len(both)) ** 2
    if not both or by_chance == 1:
        return None
    return (sum(one[row] == other[row] for row in both) / len(both) - by_chance) / (1 - by_chance)


def _purity(one: Labels, other: Labels) -> float:
    """Cluster purity: the share of rows whose `other` label is the commonest among the rows with their `one` label."""
    pairs = Counter((label, other[row]) for row, label in one.items())
    commonest: dict[Label, int] = {}
    for (label, _), count in pairs.items():
        commonest[label] = max(count, commonest.get(label, 0))
    return sum(commonest.values()) / max(1, len(one))
