"""What labels by a reward model stand on: the held-out pairs of its training (docs/verdicts.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.jobs.reporting.proportions import Proportion, proportion

_COUNTED = ("ties", "too_long", "compare_nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardBasis:
    """The reward model that labelled a job, what is known of its worth, and rows that it could not tell."""

    training_id: str
    base: str  # the operator's name of the language model that it was trained on
    sha256: str  # of its files
    job_ids: list[str]  # whose labels it learned
    forced: bool  # learned from labels whose report says do_not_use
    pairs: int  # that it learned from
    agreement: Proportion | None  # with the labels of pairs held out of its training; None if none were
    calibration_error: float | None  # mean distance of its probability of the better text from how often that is right
    ties: int  # rows whose texts have the same reward; they have no label
    too_long: int  # rows with a text over the context; they have no label
    compare_nothing: int  # rows without two different texts; they have no label
    known_accuracy: Proportion | None  # on known rows, which it did not read; None without known rows


def reward_basis(found: Sequence[Mapping[str, Any]]) -> RewardBasis | None:
    """Add up what the finished shards say; None where no reward model has labelled any."""
    if not found:
        return None
    model, held_out = found[0]["model"], found[0]["model"]["held_out"]
    share = model["agreement"]
    known = [sum(one[name] for one in found) for name in ("known_right", "known_rows")]
    return RewardBasis(
        **{name: model[name] for name in ("training_id", "base", "sha256", "forced", "pairs", "calibration_error")},
        job_ids=list(model["job_ids"]),
        agreement=None if share is None else proportion(round(share * held_out), held_out),
        **{name: sum(one[name] for one in found) for name in _COUNTED},
        known_accuracy=proportion(*known),
    )
