"""Records of reward models, which are finished trainings of kind reward, and of the rewards that they give texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from service.identifiers import JobId
from service.records.training_kinds import TrainingKind
from service.records.trainings import TrainingReport


@dataclass(frozen=True, slots=True)
class RewardedText:
    """The reward of a text (None for a text over the context), and the text's length in the reward model's tokens."""

    reward: float | None
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardModel:
    """A finished training of kind reward, with the measurements of how good it is."""

    training_id: JobId
    base: str  # the operator's name of the language model that it was trained on
    sha256: str  # of its files
    manifest: Mapping[str, Any]
    job_ids: tuple[str, ...]  # whose labels it learned
    forced: bool  # learned from labels whose report says do_not_use
    pairs: int  # trained on
    held_out: int  # pairs left out of its training
    agreement: float | None  # share of these that it ranks as the jobs' labels do
    calibration_error: float | None  # mean distance of its probability of the better text from how often that is right
    text_tokens: float  # mean length of the texts that it learned from

    @classmethod
    def of(cls, found: TrainingReport) -> Self | None:
        """The reward model that a training has made; None if it is of another kind or has no files."""
        training, report = found.training, found.report
        if training.artifact is None or report.get("kind") != TrainingKind.REWARD:
            return None
        rows, epochs = report["rows"], report["training"]["epochs"]
        measured: Mapping[str, Any] = epochs[-1].get("held_out", {}) if epochs else {}
        return cls(
            training_id=training.id,
            base=training.base,
            sha256=training.artifact.sha256,
            manifest=found.manifest,
            job_ids=tuple(training.config["job_ids"]),
            forced=bool(training.config.get("force")),
            pairs=rows["trained"],
            held_out=rows["held_out"],
            agreement=measured.get("accuracy"),
            calibration_error=measured.get("calibration", {}).get("error"),
            text_tokens=rows["tokens"] / max(1, 2 * rows["trained"]),
        )

    @property
    def learned(self) -> Mapping[str, Any]:
        """The facts about the reward model in the report of a job that it labelled."""
        names = ("training_id", "base", "sha256", "forced", "pairs", "held_out", "agreement", "calibration_error")
        return {name: getattr(self, name) for name in names} | {"job_ids": list(self.job_ids)}


Rewarded = Sequence[RewardedText]
