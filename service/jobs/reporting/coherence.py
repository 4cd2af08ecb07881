"""Measures how much more coherent the labels are than chance, in nats per row (docs/verdicts.md)."""

from dataclasses import dataclass

from service.config import Normalization, SearchConfig
from service.jobs.reporting.facts import SearchFacts

_NO_COST_NATS = 1e-6  # if shuffled labels cost less than this per row, there is nothing to gain


@dataclass(frozen=True, slots=True, kw_only=True)
class Coherence:
    """How much more coherent the labels are than their rivals; null if the search did not measure it."""

    gain_nats: float | None  # per row: information gain, or the gain over shuffled labels
    gain_share: float | None  # share of the largest possible gain: the shares' entropy, or the cost of shuffled labels
    polarity_nats: float | None  # per row: the gain over the best permutation of the label set
    restart_agreement: float | None  # share of the rows to which the other starts give the same label


def coherence(config: SearchConfig, facts: SearchFacts) -> Coherence:
    """Convert the search's utilities to differences that are comparable between jobs."""
    gain, most = _gain(config, facts)
    return Coherence(
        gain_nats=gain,
        gain_share=None if gain is None or most is None else _share(gain, most),
        polarity_nats=_difference(config, facts, facts.complement_utility),
        restart_agreement=facts.restart_agreement,
    )


def _gain(config: SearchConfig, facts: SearchFacts) -> tuple[float | None, float | None]:
    """The gain of the labels over chance and the largest possible gain, nats per row."""
    if facts.gain_nats is not None and facts.entropy_nats is not None:
        return facts.gain_nats, facts.entropy_nats
    own, shuffled = _predictabilities(config, facts)
    return (None, None) if own is None or shuffled is None else (own - shuffled, -shuffled)


def _predictabilities(config: SearchConfig, facts: SearchFacts) -> tuple[float | None, float | None]:
    """P of the labels and of the shuffled ones; computed from the utilities, conflicts included, if P is unknown."""
    if facts.predictability is not None and facts.shuffled_predictability is not None:
        return facts.predictability, facts.shuffled_predictability
    if facts.sample_utility is None or facts.shuffled_utility is None:
        return None, None
    scale = _scale(config, facts)
    return facts.sample_utility / scale, facts.shuffled_utility / scale


def _difference(config: SearchConfig, facts: SearchFacts, rival: float | None) -> float | None:
    if facts.sample_utility is None or rival is None:
        return None
    return (facts.sample_utility - rival) / _scale(config, facts)


def _scale(config: SearchConfig, facts: SearchFacts) -> float:
    """The utility of one nat per row (eq. 2); the gain is always a mean over rows."""
    if facts.gain_nats is not None:
        return config.alpha
    rows = max(1, facts.sample_rows or 1) if config.normalization is Normalization.SUM else 1
    return config.alpha * rows


def _share(gain: float, cost: float) -> float | None:
    """The gain as a share of the cost, from -1 to 1; None if the shuffled labels cost nothing."""
    return None if cost < _NO_COST_NATS else max(-1.0, min(1.0, gain / cost))
