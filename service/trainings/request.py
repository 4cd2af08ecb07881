"""What a user asks a training for, checked field by field."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from service.config import Number, Share, Truth, Whole
from service.errors import InvalidConfig
from service.records.labels import LabelStatus
from service.strict_model import StrictModel
from service.trainings.faults import faults_of

MOST_JOBS = 100  # whose rows are trained on together
WRONG = "the training cannot be made"


class TrainingKind(StrEnum):
    """What the trained language model is for."""

    LABEL = "label"  # says the label behind a prompt
    REWARD = "reward"  # gives a text a number: the better of two gets the higher one


class TrainingMethod(StrEnum):
    """Which weights are trained."""

    LORA = "lora"  # two small matrices beside every linear layer: an adapter
    FULL = "full"


class RowWeights(StrEnum):
    """How much each row counts."""

    NONE = "none"
    CONFIDENCE = "confidence"


class TrainingControl(StrEnum):
    """A further training, to compare with (docs/training.md#controls)."""

    SHUFFLED = "shuffled"
    INVERTED = "inverted"
    GOLD = "gold"
    NOISE = "noise"


GOLD_CONTROLS = (TrainingControl.GOLD, TrainingControl.NOISE)


class RowSelection(StrictModel):
    """Which rows of the jobs become examples, and how they are used."""

    min_confidence: Share = Field(0.0, description="rows whose label is less sure are left out; known labels never")
    statuses: list[LabelStatus] = Field(
        default_factory=lambda: [LabelStatus.LABELED],
        min_length=1,
        description="rows of other statuses are left out; unlabeled rows always are",
    )
    holdout: Annotated[float, Field(strict=True, ge=0, le=0.9)] = Field(
        0.1, description="the share of rows to measure with; related rows stay together"
    )
    weights: RowWeights = Field(RowWeights.NONE, description="confidence: a row counts by its confidence")

    @field_validator("statuses")
    @classmethod
    def _statuses_have_labels(cls, statuses: list[LabelStatus]) -> list[LabelStatus]:
        if LabelStatus.UNLABELED in statuses:
            raise ValueError("must be labeled or uncertain: an unlabeled row has no label to learn")
        return statuses


class TrainingRequest(StrictModel):
    """A training on the labels that finished jobs have found."""

    job_ids: list[str] = Field(min_length=1, max_length=MOST_JOBS, description="finished jobs whose rows are learned")
    kind: TrainingKind = TrainingKind.LABEL
    base: str | None = Field(
        None, description="the language model to start from, by the operator's name for it; null: the jobs' model"
    )
    method: TrainingMethod = TrainingMethod.LORA
    rank: Whole = Field(16, ge=1, le=1024, description="of LoRA")
    epochs: Whole = Field(3, ge=1, le=1000)
    learning_rate: Annotated[Number, Field(gt=0, lt=1)] | None = Field(
        None, description="at the first step; null: 0.001 with lora, 0.00001 with full"
    )
    rows: RowSelection = RowSelection()
    controls: list[TrainingControl] = Field(default_factory=list, description="further trainings to compare with")
    seed: Whole = Field(0, ge=0, lt=2**31)
    force: Truth = Field(default=False, description="train on labels whose report says do_not_use all the same")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name, values in (("job_ids", self.job_ids), ("controls", self.controls)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: each may stand there once")
        return self

    @model_validator(mode="after")
    def _controls_fit_the_kind(self) -> Self:
        if self.kind is TrainingKind.REWARD and set(self.controls) - {TrainingControl.SHUFFLED}:
            raise ValueError("controls: shuffled is the only one for kind reward")
        return self


def parse_request(raw: Any) -> TrainingRequest:
    """The request in this JSON value. Raises InvalidConfig with a dotted field for every fault."""
    try:
        return TrainingRequest.model_validate(raw)
    except ValidationError as error:
        raise InvalidConfig(WRONG, faults_of(error, TrainingRequest)) from error
