"""The kinds of training. The command line reads this module too, so it imports nothing that only a server needs."""

from enum import StrEnum
from typing import assert_never


class TrainingKind(StrEnum):
    """What the trained language model is for."""

    LABEL = "label"  # predicts the label behind a prompt
    REWARD = "reward"  # gives a text a number: the better of two gets the higher one
    POLICY = "policy"  # continues prompts so that a reward model gives its completions high rewards

    @property
    def purpose(self) -> str:
        """The same as a predicate, for messages."""
        match self:
            case TrainingKind.LABEL:
                return "predicts labels"
            case TrainingKind.REWARD:
                return "scores texts"
            case TrainingKind.POLICY:
                return "writes completions"
            case _:
                assert_never(self)
