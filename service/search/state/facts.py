"""What a search says about itself: facts for the report, stored with the state as they are (docs/verdicts.md)."""

from collections.abc import Mapping, Sequence
from typing import TypedDict


class MeasuredLabelling(TypedDict):
    """A labelling that the search has met, and what it was measured to be worth."""

    name: str
    gain_nats: float  # G, nats a row
    conflicts: int
    rows: int
    demonstrations: list[int]  # of each view that measured it, at most
    agreement: float  # share of rows labelled as by the labelling found
    kappa: float | None


class PolarityTrial(TypedDict):
    """Which labels a language model learns faster: those found, or the permutation of them that it learns fastest."""

    rows: int  # asked for after an epoch on others
    found_nats: float  # mean -log p(label), nats a row
    permuted_nats: float
    error_nats: float  # standard error of the difference of the two


class SearchFacts(TypedDict, total=False):
    """Facts by name. Utilities are eq. 1 and 2 of arXiv 2506.10139, or G in their place; nats unless stated."""

    utility: float  # of the labelling found, on all rows of the shard
    sweep_utilities: list[float]  # of every labelling that a sweep has measured
    restart_utilities: list[float]
    restart_agreement: float | None  # share of rows labelled alike by the other starts
    sample_rows: int  # scored again for the comparisons that follow
    sample_utility: float
    permuted_utility: float  # of the best labelling with its labels permuted
    shuffled_utility: float  # of the same labels dealt out at random over the same rows
    polarity_nats: float  # by how much the labelling is preferred to its likeliest permutation beforehand
    predictability: float  # P alone, nats per row, conflicts not counted
    shuffled_predictability: float
    gain_nats: float  # G of the sample, conflicts not counted
    entropy_nats: float  # of the label shares on the sample
    impression_utility: float
    impression_confirmed: bool  # whether demonstrations bear the first impression out
    known_rows: int  # asked for without being shown
    known_right: int  # of these
    baselines: Mapping[str, Sequence[Sequence[int]]]  # by method: pairs of row and label
    labellings: list[MeasuredLabelling]
    rows_asked_again: int  # of a later shard: doubtful rows
    trainings: int
    tokens_trained: int  # read by trainings, once for each epoch
    changed_shares: list[float]  # share of the labels that each round of trainings changed
    polarity_trial: PolarityTrial
