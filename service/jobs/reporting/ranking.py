"""Ranks the labellings of the first shard by information gain, those that were not measured last."""

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
_SAME_AS_IMPRESSION = "zero_shot_calibrated"  # the labels of the first impression, rules between rows ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedLabelling:
    """One labelling of rows of the first shard; unmeasured or unknown values are null."""

    name: str
    gain_nats: float | None  # G, nats per row, conflicts not counted; 0 by definition where all rows have one label
    conflicts: int | None  # relations that it breaks
    conflict_nats: float | None  # by which these lower its utility, nats per row: conflicts / alpha
    rows: int  # that it labels
    demonstrations: list[int]  # at most so many in each view that the gain was measured by; empty without views
    agreement: float | None  # share of its rows that the job labels alike
    kappa: float | None  # the same beyond chance, Cohen's: 0 for labels by lot, 1 for equal ones


def ranked(measured: Sequence[Mapping[str, Any]], baselines: Sequence[Baseline], alpha: float) -> list[RankedLabelling]:
    """All labellings, of the highest gain first; of equals the job's own first."""
    names = {said["name"] for said in measured}
    others = [b for b in baselines if not (b.name == _SAME_AS_IMPRESSION and FIRST_IMPRESSION in names)]
    rows = [*(_measured(said, alpha) for said in measured), *map(_asked_only, others)]
    return sorted(rows, key=lambda row: (row.gain_nats is None, -(row.gain_nats or 0.0)))


def found_gain(ranking: Sequence[RankedLabelling]) -> float | None:
    """The gain of the job's own labels."""
    return next((row.gain_nats for row in ranking if row.name == FOUND), None)


def words_for(name: str) -> str:
    """A labelling in words."""
    return _WORDS.get(name, f"the labels of {name!r}")


def _measured(said: Mapping[str, Any], alpha: float) -> RankedLabelling:
    return RankedLabelling(
        name=said["name"],
        gain_nats=said["gain_nats"],
        conflicts=said["conflicts"],
        conflict_nats=said["conflicts"] / alpha,
        rows=said["rows"],
        demonstrations=list(said["demonstrations"]),
        agreement=said["agreement"],
        kappa=said["kappa"],
    )


def _asked_only(baseline: Baseline) -> RankedLabelling:
    """A baseline whose labels were never shown as demonstrations; of one label everywhere, G is 0 all the same."""
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
