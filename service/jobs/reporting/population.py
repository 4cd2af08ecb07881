"""Estimates the share of each label in the population of the rows, from the rows' label probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.jobs.reporting.proportions import wilson
from service.jobs.reporting.tally import LabelShare


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationShare:
    """The estimated share of a label in the population from which the rows were drawn, with its 95 % interval."""

    rows: int  # basis of the estimate: rows of finished shards that have a probability
    expected_rows: float  # expected number of rows with the label: the sum of its probabilities
    share: float  # expected_rows / rows
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundShare(LabelShare):
    """The number of rows with a label, and its share by the rows' probabilities; null if unknown."""

    population: PopulationShare | None


def found_shares(given: Sequence[LabelShare], counts: Sequence[Mapping[str, Any]]) -> list[FoundShare]:
    """The shares of the labels found, with the estimated population shares from all shards' expected counts."""
    estimated = population_shares(counts, len(given))
    return [
        FoundShare(label=share.label, rows=share.rows, share=share.share, population=population)
        for share, population in zip(given, estimated, strict=True)
    ]


def population_shares(counts: Sequence[Mapping[str, Any]], labels: int) -> list[PopulationShare | None]:
    """Estimate the share of each label from the shards' expected counts (expected_counts.py); None below two groups.

    With p the probability that a row has the label, s = sum p / n over n rows, and m_g the sum of p over one of G
    groups of n_g related rows, the variance of the label's share is, by the law of total variance,

        V = (sum p (1 - p) + G / (G - 1) sum (m_g - s n_g)^2) / n^2

    The first sum is the classifier's uncertainty: which rows have the label. The second is the sampling error: which
    groups were drawn (of a ratio estimator; Cochran, Sampling Techniques, 1977, ch. 6). The interval is Wilson's for
    s (1 - s) / V rows, as many independent rows as would have this variance. It holds for the share in the population
    and for the share among these rows, as far as the probabilities are calibrated.
    """
    groups, rows, size_squares = (sum(part[name] for part in counts) for name in ("groups", "rows", "size_squares"))
    if groups < 2:
        return [None] * labels
    return [
        _of_label(groups, rows, size_squares, [part["labels"][number] for part in counts]) for number in range(labels)
    ]


def _of_label(groups: int, rows: int, size_squares: int, parts: Sequence[Mapping[str, float]]) -> PopulationShare:
    expected, variance, squares, products = (
        sum(part[name] for part in parts) for name in ("expected", "variance", "squares", "products")
    )
    share = min(1.0, expected / rows)
    scatter = max(0.0, squares - 2 * share * products + share**2 * size_squares)
    total = (max(0.0, variance) + groups / (groups - 1) * scatter) / rows**2
    lower, upper = _interval(share, total, groups)
    return PopulationShare(rows=rows, expected_rows=expected, share=share, lower=lower, upper=upper)


def _interval(share: float, variance: float, groups: int) -> tuple[float, float]:
    """Wilson's interval; a share of 0 or 1 shows no variance, so it counts each group as one row."""
    if not 0 < share < 1:
        return wilson(share, groups)
    return wilson(share, share * (1 - share) / variance) if variance else (share, share)
