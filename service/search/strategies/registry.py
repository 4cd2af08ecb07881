"""The ways to label that a configuration can name, each named once."""

from enum import StrEnum
from typing import Self

from service.search.strategies import authors, baselines, folds, paper
from service.search.strategies.approach import Approach, Baseline


class StrategyName(StrEnum):
    """The strategy of the search for coherent labels."""

    approach: Approach

    def __new__(cls, name: str, approach: Approach) -> Self:
        """A name, and what stands behind it."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.approach = approach
        return member

    FOLDS = "folds", folds.APPROACH  # growth by doubling and sweeps over folds that share prompt prefixes
    PAPER = "paper", paper.APPROACH  # Algorithms 1 and 2 of arXiv 2506.10139 to the letter
    AUTHORS = "authors", authors.APPROACH  # the same as the code released with the paper does it


class Method(StrEnum):
    """The method that finds the labels."""

    baseline: Baseline | None

    def __new__(cls, name: str, baseline: Baseline | None = None) -> Self:
        """A name, and the baseline behind it; without one a strategy searches."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.baseline = baseline
        return member

    ICM = "icm"  # Internal Coherence Maximization
    ZERO_SHOT = "zero_shot", baselines.ZERO_SHOT  # each row alone, no demonstrations
    FEW_SHOT_RANDOM = "few_shot_random", baselines.FEW_SHOT_RANDOM  # each row behind a few with random labels
    BOOTSTRAP = "bootstrap", baselines.BOOTSTRAP  # rounds of relabelling from random labels on

    @property
    def reads_anchor(self) -> bool:
        """Whether later shards are labelled behind the anchor's labels."""
        return self.baseline is None or self.baseline.reads_anchor
