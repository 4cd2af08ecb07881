"""Compares the job's labels with those of the baselines on the same rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.jobs.reporting.facts import Labelling
from service.jobs.reporting.tally import LabelShare, label_shares
from service.search.measures.agreement import kappa


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A baseline compared with the job's labels on the same rows; shares from 0 to 1, null if unknown."""

    name: str
    rows: int
    labels: list[LabelShare]
    agreement: float | None  # share of the rows to which the job gives the same label
    kappa: float | None  # agreement beyond chance (Cohen): 0 for random labels, 1 for equal ones
    gold_rows: int  # rows whose gold value is a label
    accuracy: float | None  # against gold
    job_accuracy: float | None  # of the job's labels, on the same rows


def compare(
    baselines: Mapping[str, Labelling], found: Labelling, gold: Labelling, names: Sequence[str]
) -> list[Baseline]:
    """Compare each baseline with the labels found and with gold, on the rows that it has labelled."""
    return [_compare_one(name, labelling, found, gold, names) for name, labelling in baselines.items()]


def _compare_one(name: str, labelling: Labelling, found: Labelling, gold: Labelling, names: Sequence[str]) -> Baseline:
    both = [row for row in labelling if row in found]
    with_gold = [row for row in both if row in gold]
    return Baseline(
        name=name,
        rows=len(labelling),
        labels=label_shares(Counter(labelling.values()), names),
        agreement=_share([labelling[row] == found[row] for row in both]),
        kappa=kappa(labelling, found),
        gold_rows=len(with_gold),
        accuracy=_share([labelling[row] == gold[row] for row in with_gold]),
        job_accuracy=_share([found[row] == gold[row] for row in with_gold]),
    )


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
