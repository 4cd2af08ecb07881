"""Response bodies. A request for a job is `api.job_config.JobConfig` and the upload beside it."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from api.job_config import JobConfig
from service import config as domain
from service.jobs.reporting.baselines import Baseline
from service.jobs.reporting.calibration import Calibration
from service.jobs.reporting.coherence import Coherence
from service.jobs.reporting.facts import SearchFacts
from service.jobs.reporting.population import FoundShare
from service.jobs.reporting.proportions import Proportion
from service.jobs.reporting.ranking import RankedLabelling
from service.jobs.reporting.report import Cost
from service.jobs.reporting.rewards import RewardBasis
from service.jobs.reporting.shortcuts import Shortcut
from service.jobs.reporting.tally import ConfidenceBin
from service.jobs.reporting.verdicts import Reason, Verdict
from service.jobs.submission.estimate import RelationPreview
from service.jobs.task.gold import GoldValue
from service.records.jobs import JobStatus
from service.records.labels import LabelState, LabelStatus
from service.records.scoring import BackendInfo

Item = TypeVar("Item", bound=BaseModel)

_LINKED = ("labels", "result", "report", "events", "pause", "resume", "cancel")


class Body(BaseModel):
    """A body that `model_validate` fills from a record's attributes of the same names, or from those of `read_at`."""

    model_config = ConfigDict(from_attributes=True)


def read_at(*path: str, description: str | None = None) -> Any:
    """A field that takes its value from an attribute of another name, or from an attribute of an attribute."""
    return Field(validation_alias=AliasPath(*path), description=description)


class ProgressBody(Body):
    """Progress and cost of a job."""

    rows: int
    labeled: int
    iterations: int
    accepted: int
    utility: float | None = Field(description="mean over the rows of the shards that have reported")
    inconsistencies: int
    prompts: int
    tokens_sent: int = Field(description="tokens of all prompts")
    tokens_computed: int = Field(description="tokens of all prompts that no prefix cache held")
    eta_seconds: float | None = Field(
        description="seconds left, for the prompts that the search probably still sends at the pace so far; null while "
        "unknown. With a strategy that trains, null until a training has ended, then the time of all trainings that "
        "may follow"
    )


class JobError(Body):
    """Why a job has failed, or the condition that a paused job waits for."""

    code: str
    message: str


def _links(job_id: str) -> dict[str, str]:
    here = f"/v1/jobs/{job_id}"
    return {"self": here} | {name: f"{here}/{name}" for name in _LINKED}


class JobBody(Body):
    """A job."""

    id: str
    object: Literal["job"] = "job"
    name: str = read_at("config", "name")
    status: str = Field(description="queued, running, paused, succeeded, failed, cancelled; accept new ones")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    config: JobConfig
    progress: ProgressBody
    error: JobError | None
    warnings: list[str] = Field(
        description="doubts at its creation, as in the estimate, and rows that the search left out"
    )
    links: Annotated[dict[str, str], BeforeValidator(_links)] = read_at("id")

    @field_validator("config", mode="wrap")
    @classmethod
    def _as_it_is(cls, config: domain.JobConfig | None, _check: ValidatorFunctionWrapHandler) -> JobConfig | None:
        return None if config is None else JobConfig.showing(config)


class ListedJobBody(JobBody):
    """A job of a list."""

    name: str
    config: JobConfig | None  # type: ignore[assignment]  # a list also has jobs that this release cannot read
    unreadable: str | None = Field(
        description="why this release cannot read the job's configuration, which is null then: another one stored it"
    )


class Page(BaseModel, Generic[Item]):
    """One page of a list; pass `next_cursor` as `cursor` for the next."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    next_cursor: str | None = None


class LabelBody(Body):
    """The present label state of one row."""

    id: str
    position: int = Field(description="the row's position in the data set, from 0")
    icm_label: str | None
    icm_confidence: float | None = Field(
        description="probability that the label is right; under objective utility its probability given all others"
    )
    icm_margin: float | None = Field(description="nats to the second best label")
    icm_status: LabelStatus
    reason: str | None = Field(
        None, description="why the row has no label, if the inference server fails on it or rewards say nothing"
    )

    @classmethod
    def of(cls, row_id: str, state: LabelState, labels: list[str]) -> "LabelBody":
        """Build the body from a state, with the text of its label."""
        return cls(
            id=row_id,
            position=state.position,
            icm_label=None if state.label is None else labels[state.label],
            icm_confidence=state.confidence,
            icm_margin=state.margin,
            icm_status=state.status,
            reason=state.reason,
        )


class EventBody(Body):
    """An event of a job."""

    id: int = read_at(
        "sequence", description="number of the event, from 1 within the job; send the last one as Last-Event-ID"
    )
    type: str
    created_at: datetime
    data: dict[str, Any]


class EventPage(BaseModel):
    """Events of a job, oldest first; send the last one's id as Last-Event-ID for more."""

    object: Literal["list"] = "list"
    data: list[EventBody]
    has_more: bool


class ModelBody(Body):
    """A scoring backend and the findings of the probe; unknown values are null."""

    id: str = read_at("name", description="name for `model` of a configuration")
    object: Literal["model"] = "model"
    default: bool = Field(description="whether configurations without a model use it")
    kind: Annotated[str | None, BeforeValidator(lambda kind: kind or None)] = Field(
        description="kind of the inference server: tgi, vllm, sglang, llamacpp, embedded"
    )
    ready: bool = Field(description="whether it can score jobs: the probe found no problems")
    reachable: bool = Field(description="false if the server did not answer; try again later")
    model: str | None = Field(description="name of the language model at the server")
    revision: str | None = Field(description="revision of the language model")
    server_version: str | None
    replicas: int = Field(description="number of servers that share the work")
    context_tokens: int | None = Field(description="the longest prompt, in tokens")
    max_concurrent_requests: int | None = Field(
        description="concurrent requests beyond which the server refuses or queues"
    )
    max_top_tokens: int | None = Field(description="maximum number of alternatives to a token in one call")
    token_id_prompts: bool | None = Field(
        description="whether prompts travel as token ids, so that no tokenizer can disagree"
    )
    tokenizer_agrees: bool | None = Field(
        description="whether a label has the same tokens behind every tried prompt: "
        "encode(prompt + label) = encode(prompt) + encode(label), and likewise across the separator"
    )
    reports_tokens_computed: bool = Field(
        description="whether the server counts tokens computed; otherwise the service assumes an ideal prefix cache"
    )
    prefix_cache: bool | None = Field(
        description="whether the server computes a repeated prompt once, by its own count"
    )
    cache_block_tokens: int | None = Field(description="number of tokens in a block of the prefix cache")
    repeat_difference_nats: float | None = Field(description="difference between log-probabilities of identical calls")
    warm_difference_nats: float | None = Field(
        description="difference between log-probabilities of a prompt computed anew and from the prefix cache"
    )
    problems: list[str] = Field(description="findings that stop jobs, each with a remedy")
    advice: list[str] = Field(description="findings that would make scoring faster or steadier; they stop no job")

    @classmethod
    def of(cls, info: BackendInfo, *, default: bool) -> "ModelBody":
        """Build the body of a backend under the name that configurations use."""
        return cls.model_validate({**asdict(info), "default": default})


class CostBound(Body):
    """The cost of the longest search, about, assuming an ideal prefix cache."""

    prompts: int
    tokens_sent: int
    tokens_computed: int


class EstimateBody(Body):
    """The estimated cost of a job."""

    object: Literal["estimate"] = "estimate"
    rows: int
    groups: int
    shards: int
    prompts: int = read_at("usage", "prompts")
    tokens_sent: int = read_at("usage", "tokens_sent")
    tokens_computed: int = read_at("usage", "tokens_computed")
    at_most: CostBound | None = read_at(
        "most",
        description="the same three of about the longest search: labels change from sweep to sweep, and are turned "
        "around once; null for strategies `paper` and `authors`",
    )
    trainings: int = read_at("usage", "trainings", description="of strategies `scalable` and `iterative`")
    tokens_trained: int = read_at(
        "usage",
        "tokens_trained",
        description="that trainings read, once for each epoch; part of tokens_computed",
    )
    sample_prompt: str = Field(
        description="the first row behind one demonstration, with its known label; a row without one has an example"
    )
    relations: RelationPreview
    known: dict[str, int] = Field(description="known rows of each label; empty without a known_field")
    warnings: list[str]


class ReportBody(Body):
    """How far you can trust the labels."""

    object: Literal["report"] = "report"
    job_id: str = read_at("job", "id")
    status: JobStatus = read_at("job", "status")
    verdict: Verdict = Field(description="does not depend on gold")
    reasons: list[Reason]
    warnings: list[str] = read_at("job", "warnings", description="the job's warnings: doubts at its creation")
    rows: int = read_at("job", "progress", "rows")
    labels: list[FoundShare] = Field(
        description="rows with each label; `population`: the label's share in the population of the rows, by the rows' "
        "probabilities, with a 95 % interval; null if no shard has finished"
    )
    statuses: dict[LabelStatus, int]
    unsure: int = Field(description="rows without a label, or with a second label that is nearly as likely")
    inconsistencies: int = read_at("job", "progress", "inconsistencies")
    coherence: Coherence = Field(
        description="`gain_nats` is the headline, in nats per row over chance (docs/verdicts.md)"
    )
    confidence: list[ConfidenceBin] = Field(description="number of rows by confidence")
    shortcuts: list[Shortcut] = Field(description="features that predict the labels, best first")
    cost: Cost
    search: SearchFacts
    baselines: list[Baseline] = Field(description="simpler ways to label, on rows of the anchor")
    ranking: list[RankedLabelling] = Field(
        description="labellings of rows of the anchor by information gain, highest first; those without a measured "
        "gain come last, with null"
    )
    reward_model: RewardBasis | None = Field(
        description="of a job that a reward model has labelled: what the labels stand on; null for others"
    )
    known_accuracy: Proportion | None = Field(
        description="accuracy on the known rows when they are left out of the demonstrations, with its 95 % Wilson "
        "interval; null without known rows, or if the search did not measure it"
    )
    gold_rows: int = read_at("gold", "rows", description="rows with a gold value")
    gold_rows_unmatched: int = read_at(
        "gold",
        "unmatched",
        description="those of them whose value is none of the labels; the report does not compare them",
    )
    gold_values_unmatched: list[GoldValue] = read_at(
        "gold", "unmatched_values", description="the most frequent values among these"
    )
    gold_rows_labeled: int = read_at("gold", "labeled", description="the other gold rows that have a label")
    accuracy: float | None = read_at(
        "gold", "accuracy", description="share of the labelled gold rows whose label agrees; null without gold"
    )
    calibration: Calibration | None = Field(description="calibration of the confidence against gold; null without gold")


class ModelList(BaseModel):
    """The scoring backends, the default first."""

    object: Literal["list"] = "list"
    data: list[ModelBody]


class Health(BaseModel):
    """The answer of a health check."""

    status: Literal["ok"] = "ok"


class FaultBody(Body):
    """One fault of the input."""

    line: int | None = Field(description="physical line of the file, or row number for Parquet and inline examples")
    field: str | None
    message: str


class QuotaBody(Body):
    """The quota that the request exceeds."""

    quota: str
    limit: int
    used: int


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FaultBody] | None = None
    quota: QuotaBody | None = None
