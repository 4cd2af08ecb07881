"""The kinds of training. The command line reads this module too, so it imports nothing that only a server needs."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, assert_never

_FIGURES_OF_BASE = ("held_out", "untrained", "zero_shot")  # how kinds name them in `before` of a report


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


def figures_of_base(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """The base's figures on held-out rows in a training's report; empty if the report has none."""
    before = report.get("before") or {}
    return next((before[name] for name in _FIGURES_OF_BASE if before.get(name)), {})
