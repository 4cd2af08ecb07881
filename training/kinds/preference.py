"""Evaluate how well rewards rank two texts, and their biases: length, position, false certainty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_BINS = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """Rewards of held-out pairs, in the pairs' order, with the texts' lengths in tokens.

    `chosen_first` gives the order in which the judge saw a pair; None if unknown. `gold_agrees` says whether the chosen
    text is the better one by gold; None without gold.
    """

    chosen: Floats
    rejected: Floats
    chosen_tokens: Sequence[int]
    rejected_tokens: Sequence[int]
    chosen_first: Sequence[bool | None]
    gold_agrees: Sequence[bool | None] = ()

    @property
    def gaps(self) -> Floats:
        """The chosen text's reward minus the other's, in nats of odds."""
        return self.chosen - self.rejected


def quality(judged: Judged) -> dict[str, Any]:
    """The share of pairs ranked right, mean -log p(chosen) in nats, biases and calibration; None without pairs."""
    gaps = judged.gaps
    return {
        "rows": len(gaps),
        "accuracy": _share(gaps > 0),
        "gold_accuracy": _by_gold(judged),
        "nats": float(np.logaddexp(0, -gaps).mean()) if len(gaps) else None,
        "length": _length(judged),
        "position": _position(judged),
        "calibration": calibration(gaps),
    }


def calibration(gaps: Floats) -> dict[str, Any]:
    """Compare the probability of the preferred text, 0.5 to 1, with the share of pairs in which the judge chose it.

    `error` is the mean distance of the two over bins of equal width, weighted by rows.
    """
    certain, right = 1 / (1 + np.exp(-np.abs(gaps))), gaps > 0
    places = np.minimum(((certain - 0.5) * 2 * _BINS).astype(int), _BINS - 1)
    bins = [
        {
            "from": 0.5 + place / (2 * _BINS),
            "rows": int((places == place).sum()),
            "predicted": float(certain[places == place].mean()),
            "right": float(right[places == place].mean()),
        }
        for place in sorted(set(places.tolist()))
    ]
    distance = sum(one["rows"] * abs(one["predicted"] - one["right"]) for one in bins)
    return {"error": float(distance / len(gaps)) if len(gaps) else None, "bins": bins}


def _length(judged: Judged) -> dict[str, Any]:
    """How often the judge chose the longer text, the share ranked right of each kind, and reward against length."""
    chosen, rejected = np.array(judged.chosen_tokens), np.array(judged.rejected_tokens)
    longer, shorter = chosen > rejected, chosen < rejected
    return {
        "longer_chosen": _share(longer[longer | shorter]),
        "accuracy_where_longer_is_right": _share(judged.gaps[longer] > 0),
        "accuracy_where_shorter_is_right": _share(judged.gaps[shorter] > 0),
        "reward_by_length": _correlation(
            np.concatenate([judged.chosen, judged.rejected]), np.concatenate([chosen, rejected])
        ),
    }


def _position(judged: Judged) -> dict[str, Any]:
    """How often the judge chose the first text, if the order is known, and how often each kind is ranked right."""
    first = np.array([place is True for place in judged.chosen_first], dtype=bool)
    second = np.array([place is False for place in judged.chosen_first], dtype=bool)
    return {
        "first_chosen": _share(first[first | second]),
        "accuracy_where_first_is_right": _share(judged.gaps[first] > 0),
        "accuracy_where_second_is_right": _share(judged.gaps[second] > 0),
    }


def _by_gold(judged: Judged) -> float | None:
    """The share of pairs with gold of which the model ranks the better text first."""
    known = [
        (gap > 0) == agrees for gap, agrees in zip(judged.gaps, judged.gold_agrees, strict=False) if agrees is not None
    ]
    return _share(np.array(known, dtype=bool))


def _share(which: npt.NDArray[np.bool_]) -> float | None:
    return float(which.mean()) if len(which) else None


def _correlation(one: Floats, other: npt.NDArray[np.int64]) -> float | None:
    """Pearson's correlation; None if one side does not vary."""
    if not len(one) or not one.std() or not other.std():
        return None
    return float(np.corrcoef(one, other)[0, 1])
