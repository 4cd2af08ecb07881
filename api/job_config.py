"""A job's configuration as users write it: its JSON schema, and the checks that every new job passes.

The classes bear the names of the OpenAPI document. `JobConfig.checked` gives the service's own record of the same name
(`service/config.py`). A field of the record that is missing here can no longer be set; stored jobs keep theirs.
"""

import math
from dataclasses import fields
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, field_validator, model_validator

from service import config as domain
from service.config import EarlierResults, Normalization
from service.placeholders import template_fields
from service.presets import PRESETS, Preset
from service.relations.registry import Relation
from service.search.state.objective import Objective
from service.search.state.problem import Start
from service.search.strategies.registry import Method, StrategyName
from service.strict_model import Number, Share, StrictModel, Truth, Whole

Record = TypeVar("Record")
Model = TypeVar("Model", bound=BaseModel)

SHARE_TOLERANCE = 1e-9  # by which sums of shares may be off, as floats
_LARGEST = 1e6  # of a parameter that is a number with a fraction: far beyond use, and products of two stay finite
_LAST = 2**63 - 1  # the largest integer that the service reads
_MOST_ROUNDS = 100  # of anything that the search repeats: an estimate simulates every repetition
_MOST_ROWS = 10_000  # of one search: far more than a context holds
MAX_LABEL_CHARACTERS = 300  # every prompt requests each token of a label; `parse_config` checks it
LabelText = Annotated[str, Field(json_schema_extra={"pattern": r"^\S(.*\S)?$", "maxLength": MAX_LABEL_CHARACTERS})]
_NEW = domain.SearchConfig()  # the defaults of new jobs


def _quoted(label: str) -> str:
    """The label as a message shows it: the beginning, if it is too long for a label."""
    return repr(label if len(label) <= MAX_LABEL_CHARACTERS else label[:MAX_LABEL_CHARACTERS] + "...")


def _alike(label: str, before: list[str]) -> str | None:
    """What to do about a label that equals an earlier one, or differs from it only in case; None if none does."""
    if label in before:
        return f"the label {_quoted(label)} is given more than once; give each label once"
    same = next((other for other in before if other.casefold() == label.casefold()), None)
    both = same and f"the labels {_quoted(same)} and {_quoted(label)}"
    return both and f"{both} must differ by more than case; leave one out or reword it"


class Task(StrictModel):
    """The question about each row and its possible answers."""

    template: str = Field(
        min_length=1, max_length=20_000, description="text of a row; the row's field replaces `{field}`"
    )
    labels: list[LabelText] = Field(["True", "False"], min_length=2, max_length=64)
    all_spellings: Truth = Field(
        default=False,
        description="whether a label's probability is that of all its spellings: as it is, in lower case, in upper "
        "case and with a capital, each with a space before it and without",
    )
    id_field: str | None = None
    gold_field: str | None = Field(None, description="column with the truth; only the report's accuracy uses it")
    gold_values: dict[str, str] = Field(default_factory=dict, description="label for each value of the gold field")
    known_field: str | None = Field(
        None, description="column with the labels of rows that you are sure of; null or blank in all others"
    )
    shares: dict[str, Share | tuple[Share, Share]] = Field(
        default_factory=dict,
        description="share of all rows that has a label: a number, or minimum and maximum; you may omit labels",
    )
    separator: str = Field("\n\n", min_length=1, max_length=100, description="text between demonstrations")
    relations: list[Relation] = Field(default_factory=list, max_length=16)

    def checked(self) -> domain.Task:
        """The service's record of the task."""
        return _record(domain.Task, self)

    @field_validator("template")
    @classmethod
    def _only_plain_fields(cls, template: str) -> str:
        template_fields(template)
        return template

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: list[str]) -> list[str]:
        for label in labels:
            if not label.strip() or label != label.strip():
                wrong = "a label must not be empty or begin or end with white space"
                raise ValueError(f"{wrong}, as {_quoted(label)} does")
        told = [_alike(label, labels[:number]) for number, label in enumerate(labels)]
        if any(told):
            raise ValueError("; ".join(dict.fromkeys(filter(None, told))))
        return labels

    @model_validator(mode="after")
    def _gold_stays_apart(self) -> Self:
        if self.gold_field is None:
            return self
        if self.gold_field in self.checked().fields:
            raise ValueError(f"gold_field {self.gold_field!r} must not stand in the template or in a relation")
        if self.gold_field == self.id_field:
            raise ValueError("gold_field and id_field must differ")
        return self

    @model_validator(mode="after")
    def _known_labels_stay_apart(self) -> Self:
        if self.known_field is None:
            return self
        if self.known_field in self.checked().fields:
            raise ValueError(f"known_field {self.known_field!r} must not stand in the template or in a relation")
        for name, other in (("gold_field", self.gold_field), ("id_field", self.id_field)):
            if self.known_field == other:
                raise ValueError(f"known_field and {name} must differ; both are {other!r}")
        return self

    @model_validator(mode="after")
    def _relations_name_labels(self) -> Self:
        for relation in self.relations:
            if relation.label is not None and relation.label not in self.labels:
                raise ValueError(f"relation {relation.kind}: label {relation.label!r} is not one of {self.labels}")
        return self

    @model_validator(mode="after")
    def _shares_can_be_met(self) -> Self:
        ranges = self.checked().share_ranges
        for name, (least, most) in ranges.items():
            if name not in self.labels:
                raise ValueError(f"shares must name labels as they are written: {name!r} is not one of {self.labels}")
            if least > most:
                raise ValueError(f"shares must begin with the least: of {name!r} they are {[least, most]}")
        if (least := math.fsum(least for least, _ in ranges.values())) > 1 + SHARE_TOLERANCE:
            raise ValueError(f"shares must leave room for each other: at the least they come to {least:g}, more than 1")
        if len(ranges) == len(self.labels):
            most = math.fsum(most for _, most in ranges.values())
            if most < 1 - SHARE_TOLERANCE:
                raise ValueError(f"shares must reach 1 where every label has one: at most they come to {most:g}")
        return self


def _default_objectives() -> str:
    """The default objective of each strategy, in words."""
    defaults: dict[Objective, list[str]] = {}
    for strategy in StrategyName:
        defaults.setdefault(strategy.approach.default_objective, []).append(f"`{strategy.value}`")
    return ", ".join(f"`{objective.value}` for {' and '.join(names)}" for objective, names in defaults.items())


# Parameters of the search that users can no longer set, each with the reason.
GONE = {
    "repair_rounds": f"the search always tries up to {_NEW.repair_rounds} repairs per proposal",
    "consistency": "`bootstrap` always respects the relations; leave the relations out for one that does not",
}


class SearchConfig(StrictModel):
    """Parameters of the search, with the paper's defaults if it has them."""

    strategy: StrategyName = _NEW.strategy
    objective: Objective | None = Field(
        _NEW.objective, description=f"what the search maximises; null: {_default_objectives()}"
    )
    seed: Whole = Field(_NEW.seed, ge=-(2**63), le=_LAST)
    alpha: Number = Field(
        _NEW.alpha, gt=0, le=_LARGEST, description="weight of mutual predictability against one inconsistency"
    )
    normalization: Normalization = _NEW.normalization
    seed_labels: Whole = Field(
        _NEW.seed_labels, ge=1, le=_MOST_ROWS, description="K: number of rows labelled at random at the start"
    )
    initial_temperature: Number = Field(
        _NEW.initial_temperature, gt=0, le=_LARGEST, description="T_0: temperature at the start"
    )
    final_temperature: Number = Field(
        _NEW.final_temperature, gt=0, le=_LARGEST, description="T_min: lowest temperature"
    )
    cooling: Number = Field(_NEW.cooling, gt=0, le=_LARGEST, description="beta: factor of cooling")
    draws_per_row: Number = Field(
        _NEW.draws_per_row,
        gt=0,
        le=_LARGEST,
        description="iterations of `paper` and `authors`, per row; at least 100 in all",
    )
    folds: Whole = Field(
        _NEW.folds,
        ge=2,
        le=_MOST_ROUNDS,
        description="G: parts a sweep of `folds` divides the rows into, under `utility`; F: of `scalable`",
    )
    restarts: Whole = Field(
        _NEW.restarts,
        ge=1,
        le=_MOST_ROUNDS,
        description="independent starts of `folds` under `utility`, at most; two that agree are enough",
    )
    initial_rows: Whole = Field(
        _NEW.initial_rows, ge=2, le=_MOST_ROWS, description="rows that every start of `folds` labels, under `utility`"
    )
    sweeps: Whole = Field(
        _NEW.sweeps, ge=1, le=_MOST_ROUNDS, description="sweeps of `folds` over all rows under `utility`, at most"
    )
    rounds: Whole = Field(
        _NEW.rounds, ge=1, le=_MOST_ROUNDS, description="rounds of `bootstrap` and of `scalable`, at most"
    )
    start: Start = Field(
        _NEW.start,
        description="the labels that the first trainings of `scalable` learn: those that a search of anchor_rows "
        "finds, or random ones, which lead to the inverse of the right labels as often as not",
    )
    batch_rows: Whole = Field(_NEW.batch_rows, ge=2, le=_MOST_ROWS, description="rows of each batch of `iterative`")
    epochs: Whole = Field(
        _NEW.epochs, ge=1, le=_MOST_ROUNDS, description="of each training of `scalable` and `iterative`"
    )
    learning_rate: Number | None = Field(
        _NEW.learning_rate,
        gt=0,
        lt=1,
        description="of each training; null: 0.001, which suits small language models (LoRA)",
    )
    exact_confidence: Truth = Field(
        _NEW.exact_confidence,
        description="under `utility`, score every row given all others at the end; false: given those outside its fold",
    )
    max_demonstrations: Whole | None = Field(
        _NEW.max_demonstrations,
        ge=1,
        le=_LAST,
        description="maximum of demonstrations in one prompt; null: as many as fit",
    )
    anchor_rows: Whole = Field(
        _NEW.anchor_rows,
        ge=2,
        le=_MOST_ROWS,
        description="rows of the anchor; a data set of up to twice as many rows is one shard",
    )
    second_opinions: Whole = Field(
        _NEW.second_opinions,
        ge=0,
        le=_MOST_ROUNDS,
        description="further orders of the anchor's rows for a second score of doubtful rows of later shards",
    )
    shard_rows: Whole = Field(_NEW.shard_rows, ge=1, le=_LAST, description="rows of each later shard")

    def checked(self) -> domain.SearchConfig:
        """The service's record of the parameters."""
        return _record(domain.SearchConfig, self)

    @model_validator(mode="before")
    @classmethod
    def _without_gone(cls, values: Any) -> Any:
        """Ignore removed parameters that have their only value: answers of earlier releases show them."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if name not in GONE or value != getattr(_NEW, name)}

    @model_validator(mode="after")
    def _strategy_raises_the_objective(self) -> Self:
        raised = self.strategy.approach.searches
        if self.objective is not None and self.objective not in raised:
            able = " or ".join(repr(each.value) for each in StrategyName if self.objective in each.approach.searches)
            own = " or ".join(repr(each.value) for each in raised)
            misplaced = f"objective {self.objective.value!r} is for strategy {able}"
            raise ValueError(f"{misplaced}; {self.strategy.value!r} raises {own}")
        return self

    @model_validator(mode="after")
    def _starts_at_random_where_that_can_be(self) -> Self:
        if self.start is Start.RANDOM and self.strategy is not StrategyName.SCALABLE:
            raise ValueError(f"start {self.start.value!r} is for strategy 'scalable', not for {self.strategy.value!r}")
        return self


class Limits(StrictModel):
    """Limits at which the search stops early, with its labels so far."""

    max_tokens_computed: Whole | None = Field(None, gt=0, le=_LAST)
    max_seconds: Number | None = Field(None, gt=0)


class JobConfig(StrictModel):
    """All choices of a user about a job."""

    name: str = Field("", max_length=200)
    model: str = Field(
        "default", description="a model of `GET /v1/models`, or the id of a finished training of kind label"
    )
    preset: Preset | None = Field(None, description="supplies the fields that `task` omits")
    task: Task
    method: Method = Method.ICM
    reward: str | None = Field(
        None, description="the finished training of kind reward whose rewards label the rows by method `reward_model`"
    )
    earlier_results: EarlierResults = Field(
        EarlierResults.REFUSE,
        description="treatment of columns of an earlier result, such as icm_label; rename prefixes earlier_",
    )
    search: SearchConfig = SearchConfig()
    limits: Limits = Limits()

    def checked(self) -> domain.JobConfig:
        """The service's record of the configuration."""
        parts = {"task": self.task.checked(), "search": self.search.checked()}
        return _record(domain.JobConfig, self, **parts, limits=_record(domain.Limits, self.limits))

    @classmethod
    def showing(cls, config: domain.JobConfig) -> Self:
        """The configuration of a stored job, unchecked: an earlier release may have accepted what this one refuses."""
        parts = {"task": _shown(Task, config.task), "search": _shown(SearchConfig, config.search)}
        return _shown(cls, config, **parts, limits=_shown(Limits, config.limits))

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        """Put the preset's fields under the task's own."""
        if not isinstance(values, dict) or values.get("preset") not in list(Preset):
            return values
        task = values.get("task") or {}
        filled = {**PRESETS[Preset(values["preset"])], **task} if isinstance(task, dict) else task
        return {**values, "task": filled}


def _record(kind: type[Record], model: BaseModel, **parts: object) -> Record:
    """The record with the model's values of the same names, and these parts."""
    return kind(**{**dict(model), **parts})


def _shown(kind: type[Model], record: Any, **parts: object) -> Model:
    """The model with the record's values of the same names, and these parts, without any check."""
    values = {each.name: getattr(record, each.name) for each in fields(record) if each.name in kind.model_fields}
    return kind.model_construct(**{**values, **parts})
