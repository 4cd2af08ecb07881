"""Puts the job's labels beside what simpler ways to label say of the same rows."""

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
    agreement: float | None  # share of the rows that the job labels alike
    kappa: float | None  # the same beyond chance, Cohen's: 0 for labels by lot, 1 for equal ones
    gold_rows: int  # whose gold value is a label
    accuracy: float | None  # against gold
    job_accuracy: float | None  # of the job's labels, on the same rows


def compare(
    baselines: Mapping[str, Labelling], found: Labelling, gold: Labelling, names: Sequence[str]
) -> list[Baseline]:
    """Each baseline against the labels found and against gold, on the rows it has labelled."""
    return [_compared(name, said, found, gold, names) for name, said in baselines.items()]


def _compared(name: str, said: Labelling, found: Labelling, gold: Labelling, names: Sequence[str]) -> Baseline:
    both = [row for row in said if row in found]
    judged = [row for row in both if row in gold]
    return Baseline(
        name=name,
        rows=len(said),
        labels=label_shares(Counter(said.values()), names),
        agreement=_share([said[row] == found[row] for row in both]),
        kappa=kappa(said, found),
        gold_rows=len(judged),
        accuracy=_share([said[row] == gold[row] for row in judged]),
        job_accuracy=_share([found[row] == gold[row] for row in judged]),
    )


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
