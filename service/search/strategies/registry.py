"""Lists the strategies and baselines that a configuration can name."""

from enum import StrEnum
from typing import Self

from service.search.strategies import authors, baselines, folds, iterative, paper, scalable
from service.search.strategies.approach import Approach, Baseline


class StrategyName(StrEnum):
    """The strategy of the search for coherent labels."""

    approach: Approach

    def __new__(cls, name: str, approach: Approach) -> Self:
        """Make a member from a name and its strategy."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.approach = approach
        return member

    FOLDS = "folds", folds.APPROACH  # sweeps over all rows, with prompts that share long prefixes
    PAPER = "paper", paper.APPROACH  # Algorithms 1 and 2 of arXiv 2506.10139 to the letter
    AUTHORS = "authors", authors.APPROACH  # the same algorithms as the released code runs them
    SCALABLE = "scalable", scalable.APPROACH  # trainings on all folds but one relabel that one, round after round
    ITERATIVE = "iterative", iterative.APPROACH  # a training on the batches before it labels each batch


class Method(StrEnum):
    """The method that finds the labels."""

    baseline: Baseline | None

    def __new__(cls, name: str, baseline: Baseline | None = None) -> Self:
        """Make a member from a name and its baseline; members without one are no baselines."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.baseline = baseline
        return member

    ICM = "icm"  # Internal Coherence Maximization
    ZERO_SHOT = "zero_shot", baselines.ZERO_SHOT  # each row alone, without demonstrations
    FEW_SHOT_RANDOM = "few_shot_random", baselines.FEW_SHOT_RANDOM  # each row behind a few with random labels
    BOOTSTRAP = "bootstrap", baselines.BOOTSTRAP  # rounds of relabelling that begin with random labels
    REWARD_MODEL = "reward_model"  # no search: the better of two texts is that with the higher reward

    @property
    def searches(self) -> bool:
        """Whether the method runs the strategy of the search."""
        return self is Method.ICM

    @property
    def asks_rewards(self) -> bool:
        """Whether a trained reward model labels the rows, without prompts."""
        return self is Method.REWARD_MODEL

    @property
    def reads_anchor(self) -> bool:
        """Whether the method labels later shards behind the anchor's demonstrations."""
        return self.searches or (self.baseline is not None and self.baseline.reads_anchor)
