"""Ranks the labellings of the first shard by information gain; those without a measurement come last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.jobs.reporting.baselines import Baseline
from service.search.measures.ranking import FIRST_IMPRESSION, FOUND

_WORDS = {
    FOUND: "the labels found",
    FIRST_IMPRESSION: "the zero-shot labels, calibrated (first impression)",
    "start_impression": "the best labels of the start from the first impression",
    "start_random": "the best labels of the start from random labels",
    "start_permuted": "the best labels of the start from permuted labels",
    "zero_shot": "the zero-shot labels, not calibrated",
    "zero_shot_calibrated": "the zero-shot labels, calibrated",
    "few_shot_random": "the labels behind a few demonstrations with random labels",
    "bootstrap": "the labels of a bootstrap",
}
_SAME_AS_IMPRESSION = "zero_shot_calibrated"  # the labels of the first impression, without rules between rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedLabelling:
    """One labelling of rows of the first shard; unmeasured or unknown values are null."""

    name: str
    gain_nats: float | None  # G, nats per row, without conflicts; 0 by definition if all rows have one label
    conflicts: int | None  # relations that it breaks
    conflict_nats: float | None  # their cost in utility, nats per row: conflicts / alpha
    rows: int  # rows that it labels
    demonstrations: list[int]  # the most that each view of the measurement shows; empty without views
    agreement: float | None  # share of its rows to which the job gives the same label
    kappa: float | None  # agreement beyond chance (Cohen): 0 for random labels, 1 for equal ones


def ranked(measured: Sequence[Mapping[str, Any]], baselines: Sequence[Baseline], alpha: float) -> list[RankedLabelling]:
    """All labellings, the highest gain first; among equals the job's own first."""
    names = {facts["name"] for facts in measured}
    others = [b for b in baselines if not (b.name == _SAME_AS_IMPRESSION and FIRST_IMPRESSION in names)]
    rows = [*(_from_facts(facts, alpha) for facts in measured), *map(_from_baseline, others)]
    return sorted(rows, key=lambda row: (row.gain_nats is None, -(row.gain_nats or 0.0)))


def found_gain(ranking: Sequence[RankedLabelling]) -> float | None:
    """The gain of the job's own labels."""
    return next((row.gain_nats for row in ranking if row.name == FOUND), None)


def words_for(name: str) -> str:
    """The description of a labelling for messages."""
    return _WORDS.get(name, f"the labels of {name!r}")


def _from_facts(facts: Mapping[str, Any], alpha: float) -> RankedLabelling:
    return RankedLabelling(
        name=facts["name"],
        gain_nats=facts["gain_nats"],
        conflicts=facts["conflicts"],
        conflict_nats=facts["conflicts"] / alpha,
        rows=facts["rows"],
        demonstrations=list(facts["demonstrations"]),
        agreement=facts["agreement"],
        kappa=facts["kappa"],
    )


def _from_baseline(baseline: Baseline) -> RankedLabelling:
    """A baseline, whose labels were never shown as demonstrations; its G is known only for a single label: 0."""
    is_one_label = sum(share.rows > 0 for share in baseline.labels) == 1
    return RankedLabelling(
        name=baseline.name,
        gain_nats=0.0 if is_one_label else None,
        conflicts=None,
        conflict_nats=None,
        rows=baseline.rows,
        demonstrations=[],
        agreement=baseline.agreement,
        kappa=baseline.kappa,
    )
