"""The request for a training: its fields, their limits, and an error for each field at fault."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from service.errors import Fault, InvalidConfig
from service.placeholders import template_fields
from service.records.labels import LabelStatus
from service.records.training_kinds import TrainingKind
from service.strict_model import Number, Share, StrictModel, Truth, Whole
from service.trainings.faults import faults_of

MAX_JOBS = 100  # in one training
WRONG = "the training cannot be made"
_MOST_NATS = 1_000_000  # far beyond use


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


class PolicyRequest(StrictModel):
    """What kind policy needs besides (docs/training.md#policies)."""

    reward: str = Field(description="id of a finished training of kind reward: its rewards are what the policy raises")
    judge: str | None = Field(
        None,
        description="id of a second one, which takes no part in the training and compares policy and base at its end; "
        "null: no win rate is measured",
    )
    prompt: str | None = Field(
        None,
        min_length=1,
        max_length=20_000,
        description="text to continue; a row's column replaces `{column}`; null: the job's task.template",
    )
    completions: Whole = Field(4, ge=2, le=1024, description="drawn for each prompt in a step")
    completion_tokens: Whole = Field(64, ge=1, le=1_000_000, description="tokens of a completion, at most")
    stop: str | None = Field(None, min_length=1, description="a text of one token that ends a completion")
    kl_weight: Annotated[Number, Field(gt=0, le=_MOST_NATS)] = Field(
        0.05, description="the KL divergence in nats is subtracted from a completion's reward with this weight"
    )
    kl_limit: Annotated[Number, Field(gt=0, le=_MOST_NATS)] = Field(
        10.0, description="nats of KL divergence for a completion, over which no policy is published"
    )

    @field_validator("prompt")
    @classmethod
    def _prompt_reads_rows(cls, prompt: str | None) -> str | None:
        try:
            fields = () if prompt is None else template_fields(prompt)
        except ValueError as error:
            raise ValueError(str(error).removeprefix("template: ")) from error
        if prompt is not None and not fields:
            raise ValueError("reads no column, so that all prompts would be alike; name one, such as {question}")
        return prompt

    @property
    def models(self) -> dict[str, str]:
        """The ids of the reward models, by the fields that name them."""
        return {"reward": self.reward} | ({} if self.judge is None else {"judge": self.judge})


class TrainingRequest(StrictModel):
    """A training on the rows of finished jobs: on the labels that they have found, or on their texts as prompts."""

    job_ids: list[str] = Field(min_length=1, max_length=MAX_JOBS, description="finished jobs whose rows are learned")
    kind: TrainingKind = TrainingKind.LABEL
    base: str | None = Field(
        None,
        description="the language model to start from, by the operator's name for it; null: the jobs' model, for kind "
        "policy the reward model's base",
    )
    method: TrainingMethod = TrainingMethod.LORA
    rank: Whole = Field(16, ge=1, le=1024, description="of LoRA")
    epochs: Whole = Field(3, ge=1, le=1000)
    learning_rate: Annotated[Number, Field(gt=0, lt=1)] | None = Field(
        None, description="at the first step; null: 0.001 with lora, 0.00001 with full, 0.0001 for kind policy"
    )
    rows: RowSelection = RowSelection()
    controls: list[TrainingControl] = Field(default_factory=list, description="further trainings to compare with")
    seed: Whole = Field(0, ge=0, lt=2**31)
    policy: PolicyRequest | None = Field(None, description="for kind policy alone, which needs it")
    force: Truth = Field(default=False, description="train on labels whose report says do_not_use all the same")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name, values in (("job_ids", self.job_ids), ("controls", self.controls)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: each may stand there once")
        return self

    @model_validator(mode="after")
    def _controls_fit_the_kind(self) -> Self:
        if self.kind is TrainingKind.REWARD and TrainingControl.INVERTED in self.controls:
            raise ValueError(
                "controls: inverted says nothing for kind reward, which learns either order alike; leave it out"
            )
        return self


def parse_request(raw: Any) -> TrainingRequest:
    """The request in this JSON value. Raises InvalidConfig with a dotted field for every fault."""
    try:
        request = TrainingRequest.model_validate(raw)
    except ValidationError as error:
        raise InvalidConfig(WRONG, faults_of(error, TrainingRequest)) from error
    if faults := list(_faults_of_policy(request)):
        raise InvalidConfig(WRONG, faults)
    return request


def _faults_of_policy(request: TrainingRequest) -> Iterator[Fault]:
    """Faults of fields that kind policy does not take or alone takes."""
    settings, rows, plain = request.policy, request.rows, RowSelection()
    if request.kind is not TrainingKind.POLICY:
        if settings is not None:
            yield Fault("is for kind policy alone; leave it out, or ask for kind policy", field="policy")
        return
    if settings is None:
        yield Fault("is missing; kind policy needs the id of a reward model in policy.reward", field="policy")
    elif settings.judge == settings.reward:
        message = "is the reward model itself; name a second one, which takes no part in the training, or leave it out"
        yield Fault(message, field="policy.judge")
    if request.method is not TrainingMethod.LORA:
        yield Fault("lora is the only one for kind policy", field="method")
    if request.controls:
        yield Fault("there are none for kind policy, which learns no labels; leave them out", field="controls")
    for name in ("min_confidence", "statuses", "weights"):
        if getattr(rows, name) != getattr(plain, name):
            message = "has no effect for kind policy, which reads the text of every row and no label; leave it out"
            yield Fault(message, field=f"rows.{name}")
    if not rows.holdout:
        yield Fault("kind policy is measured on held-out prompts; give a share above 0", field="rows.holdout")
