"""Bodies of responses about trainings; the request's body is `service.trainings.request.TrainingRequest`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator

from api.schemas import Body, JobError, read_at
from service.records.trainings import Training
from service.trainings.request import TrainingRequest

_LINKED = ("report", "adapter", "events", "pause", "resume", "cancel")


def _links(training_id: str) -> dict[str, str]:
    here = f"/v1/trainings/{training_id}"
    return {"self": here} | {name: f"{here}/{name}" for name in _LINKED}


def _unchecked(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stored configuration, unchecked: an earlier release may have accepted values that this one refuses."""
    return config


class LineageBody(Body):
    """The jobs and trainings that a training learned from; some may have been deleted since."""

    jobs: list[str] = Field(description="ids of the jobs whose rows were learned")
    reward: str | None = Field(description="id of the training whose rewards a policy was trained to raise")
    judge: str | None = Field(description="id of the training that compares a policy with its base")
    reward_jobs: list[str] | None = Field(
        description="ids of the jobs that this reward model learned from; null: none is named, or an earlier release "
        "created the training"
    )
    judge_jobs: list[str] | None = Field(description="ids of the jobs that the judge learned from; null likewise")


class ArtifactBody(Body):
    """The files that were trained: an adapter or a whole model."""

    sha256: str = Field(description="of its files' names and content, as `sha256sum * | sha256sum` computes it")
    bytes: int


class TrainingBody(Body):
    """A training."""

    id: str
    object: Literal["training"] = "training"
    status: str = Field(description="queued, running, paused, succeeded, failed, cancelled; tolerate new ones")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    config: Annotated[Mapping[str, Any], PlainValidator(_unchecked, json_schema_input_type=TrainingRequest)]
    base: str = Field(description="the language model that it starts from, by the operator's name")
    lineage: LineageBody
    rows: int = Field(description="examples or prompts, those held out among them")
    progress: dict[str, Any] = Field(
        description="of the stage under way: stage, step, steps, loss (nats), tokens_per_second, seconds_left; "
        "of a policy also reward, kl_nats, completion_tokens, repetition"
    )
    error: JobError | None
    warnings: list[str]
    artifact: ArtifactBody | None = Field(description="what was trained, once it has succeeded")
    links: Annotated[dict[str, str], BeforeValidator(_links)] = read_at("id")


class ListedTrainingBody(TrainingBody):
    """A training of a list."""

    config: Annotated[  # type: ignore[assignment]  # a list also has trainings that this release cannot read
        Mapping[str, Any] | None, PlainValidator(_unchecked, json_schema_input_type=TrainingRequest | None)
    ]
    unreadable: str | None = Field(
        description="why this release cannot read the training's configuration, which is null then: another one "
        "stored it"
    )

    @classmethod
    def of(cls, training: Training) -> Self:
        """The body about a stored training."""
        body = cls.model_validate(training)
        return body if body.unreadable is None else body.model_copy(update={"config": None})


class TrainingEstimateBody(Body):
    """The rows and the cost of a training before it is created; the service has stored nothing."""

    object: Literal["training_estimate"] = "training_estimate"
    base: str
    rows: int = Field(description="examples or prompts, those held out among them")
    held_out: int
    left_out: int = Field(description="rows of the jobs that become no example")
    tokens: int = Field(
        description="of all epochs, scaled up from a sample of rows, without controls. For a policy, of prompts and of "
        "completions at their full length"
    )
    seconds: float | None = Field(description="at the speed of `measured_by`; null without such a training")
    memory_bytes: int | None = Field(description="the peak of `measured_by`; null without such a training")
    measured_by: str | None = Field(description="the latest training of that base by that method, of the same kind")
    warnings: list[str]


class TrainingReportBody(Body):
    """The measurements of a training, and the jobs, settings and files behind them (docs/training.md)."""

    object: Literal["training_report"] = "training_report"
    training_id: str = read_at("training", "id")
    lineage: LineageBody = read_at("training", "lineage")
    manifest: dict[str, Any] = Field(description="base, settings, libraries, digest of the rows, files with their hash")
    warnings: list[str] = read_at("training", "warnings")
    report: dict[str, Any] = Field(description="measured before and after, curves, tokens, seconds, memory, controls")
