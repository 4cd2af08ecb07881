"""Gathers for the report how good a job's reward model is, and how many rows it could not label (docs/verdicts.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.jobs.reporting.proportions import Proportion, proportion

_COUNTED = ("ties", "too_long", "compare_nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardBasis:
    """The reward model that labelled a job, how good it is, and the numbers of rows that it could not label."""

    training_id: str
    base: str  # the operator's name of the language model that it was trained on
    sha256: str  # of its files
    job_ids: list[str]  # whose labels it learned
    forced: bool  # learned from labels whose report says do_not_use
    pairs: int  # that it learned from
    agreement: Proportion | None  # with the labels of pairs held out of its training; None without such pairs
    calibration_error: float | None  # mean distance of its probability of the better text from how often that is right
    ties: int  # rows whose texts have the same reward; they have no label
    too_long: int  # rows with a text over the context; they have no label
    compare_nothing: int  # rows without two different texts; they have no label
    known_accuracy: Proportion | None  # on known rows of the job; None without known rows


def reward_basis(summaries: Sequence[Mapping[str, Any]]) -> RewardBasis | None:
    """Add up the summaries of finished shards; None if no reward model labelled any."""
    if not summaries:
        return None
    model, held_out = summaries[0]["model"], summaries[0]["model"]["held_out"]
    share = model["agreement"]
    known = [sum(one[name] for one in summaries) for name in ("known_right", "known_rows")]
    return RewardBasis(
        **{name: model[name] for name in ("training_id", "base", "sha256", "forced", "pairs", "calibration_error")},
        job_ids=list(model["job_ids"]),
        agreement=None if share is None else proportion(round(share * held_out), held_out),
        **{name: sum(one[name] for one in summaries) for name in _COUNTED},
        known_accuracy=proportion(*known),
    )
