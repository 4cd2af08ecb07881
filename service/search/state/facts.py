"""Facts that a search records about itself for the report; they are stored with its state (docs/verdicts.md)."""

from collections.abc import Mapping, Sequence
from typing import TypedDict


class MeasuredLabelling(TypedDict):
    """A labelling that the search has measured, and its information gain."""

    name: str
    gain_nats: float  # G, nats a row
    conflicts: int
    rows: int
    demonstrations: list[int]  # the most that each view of the measurement shows
    agreement: float  # share of rows with the same label as in the result
    kappa: float | None


class PolarityTrial(TypedDict):
    """Which labels a language model learns faster: those found, or the permutation of them that it learns fastest."""

    rows: int  # scored after an epoch on others
    found_nats: float  # mean -log p(label), nats a row
    permuted_nats: float
    error_nats: float  # standard error of the difference of the two


class SearchFacts(TypedDict, total=False):
    """Facts by name. Utilities are eq. 2 of arXiv 2506.10139, or with G in place of P; nats unless stated."""

    utility: float  # of the result, on all rows of the shard
    sweep_utilities: list[float]  # of every labelling that a sweep has measured
    restart_utilities: list[float]
    restart_agreement: float | None  # share of rows to which the other starts give the same label
    sample_rows: int  # rows that the audit scored again for the comparisons below
    sample_utility: float
    permuted_utility: float  # of the best labelling with its labels permuted
    shuffled_utility: float  # of the same labels shuffled over the same rows
    polarity_nats: float  # prior log-odds of the labelling against its likeliest permutation
    predictability: float  # P alone, nats per row, conflicts not counted
    shuffled_predictability: float
    gain_nats: float  # G of the sample, conflicts not counted
    entropy_nats: float  # of the label shares on the sample
    impression_utility: float
    impression_confirmed: bool  # whether demonstrations confirm the first impression
    expected_accuracy: float  # mean confidence of the labels; absent if nothing confirms them
    known_rows: int  # known rows that views score without showing them
    known_right: int  # of these, the rows whose known label is the likeliest
    known_commonest: int  # of these, the rows with the commonest known label
    baselines: Mapping[str, Sequence[Sequence[int]]]  # by method: pairs of row and label
    labellings: list[MeasuredLabelling]
    rows_asked_again: int  # doubtful rows of a later shard, which were scored a second time
    trainings: int
    tokens_trained: int  # read by trainings, once for each epoch
    changed_shares: list[float]  # share of the labels that each round of trainings changed
    polarity_trial: PolarityTrial
