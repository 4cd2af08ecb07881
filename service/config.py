"""A job's configuration as users write it, checked when built."""

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from service.placeholders import template_fields
from service.presets import PRESETS, Preset
from service.relations.registry import Relation
from service.search.state.objective import Objective
from service.search.state.problem import Start
from service.search.strategies.registry import Method, StrategyName
from service.strict_model import StrictModel

SHARE_TOLERANCE = 1e-9  # by which sums and products of shares may be off, as floats
_LARGEST = 1e6  # of a parameter that is a number with a fraction: far beyond use, and products of two stay finite
_LAST = 2**63 - 1  # longer integers are not read
_MOST_ROUNDS = 100  # of anything that is done again and again: an estimate rehearses all of them
_MOST_ROWS = 10_000  # that are searched together: far beyond what a context holds


# JSON's own types and no others: neither text nor truth counts as a number, nor a number as truth.
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Truth = Annotated[bool, Field(strict=True)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
MAX_LABEL_CHARACTERS = 300  # each token of a label is asked for in every prompt
# `_labels_differ` and `parse_config` say it in words; stored jobs may have longer ones.
LabelText = Annotated[str, Field(json_schema_extra={"pattern": r"^\S(.*\S)?$", "maxLength": MAX_LABEL_CHARACTERS})]


class Normalization(StrEnum):
    """Whether mutual predictability is a mean or a sum over rows."""

    MEAN = "mean"
    SUM = "sum"  # the formula as printed


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

    @field_validator("template")
    @classmethod
    def _only_plain_fields(cls, template: str) -> str:
        template_fields(template)
        return template

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: list[str]) -> list[str]:
        if any(not label.strip() or label != label.strip() for label in labels):
            raise ValueError("a label must not be empty or begin or end with white space")
        if len({label.casefold() for label in labels}) < len(labels):
            raise ValueError("labels must differ by more than case")
        return labels

    @model_validator(mode="after")
    def _gold_stays_apart(self) -> Self:
        if self.gold_field is None:
            return self
        if self.gold_field in self.fields:
            raise ValueError(f"gold_field {self.gold_field!r} must not stand in the template or in a relation")
        if self.gold_field == self.id_field:
            raise ValueError("gold_field and id_field must differ")
        return self

    @model_validator(mode="after")
    def _known_labels_stay_apart(self) -> Self:
        if self.known_field is None:
            return self
        if self.known_field in self.fields:
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
        ranges = self.share_ranges
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

    @property
    def share_ranges(self) -> dict[str, tuple[float, float]]:
        """The least and the most share of all rows that each label named in `shares` has."""
        return {name: share if isinstance(share, tuple) else (share, share) for name, share in self.shares.items()}

    @property
    def reference_fields(self) -> frozenset[str]:
        """The columns that hold ids of other rows; these may be lists, unless something else reads them too."""
        references, others = (
            {column for relation in self.relations if relation.reads_ids is reads_ids for column in relation.columns}
            for reads_ids in (True, False)
        )
        return frozenset(references - others - set(template_fields(self.template)))

    @property
    def fields(self) -> tuple[str, ...]:
        """Every column the template and the relations read, in order, each once."""
        named = [*template_fields(self.template), *(c for relation in self.relations for c in relation.columns)]
        return tuple(dict.fromkeys(named))


def _default_objectives() -> str:
    """Which strategies raise what by default, in words."""
    defaults: dict[Objective, list[str]] = {}
    for strategy in StrategyName:
        defaults.setdefault(strategy.approach.default_objective, []).append(f"`{strategy.value}`")
    return ", ".join(f"`{objective.value}` for {' and '.join(names)}" for objective, names in defaults.items())


class SearchConfig(StrictModel):
    """Parameters of the search, with the paper's defaults if it has them."""

    strategy: StrategyName = StrategyName.FOLDS
    objective: Objective | None = Field(None, description=f"what the search maximises; null: {_default_objectives()}")
    seed: Whole = Field(0, ge=-(2**63), le=_LAST)
    alpha: Number = Field(
        50.0, gt=0, le=_LARGEST, description="weight of mutual predictability against one inconsistency"
    )
    normalization: Normalization = Normalization.MEAN
    seed_labels: Whole = Field(8, ge=1, le=_MOST_ROWS, description="K: number of rows labelled at random at the start")
    initial_temperature: Number = Field(10.0, gt=0, le=_LARGEST, description="T_0: temperature at the start")
    final_temperature: Number = Field(0.01, gt=0, le=_LARGEST, description="T_min: lowest temperature")
    cooling: Number = Field(0.99, gt=0, le=_LARGEST, description="beta: factor of cooling")
    draws_per_row: Number = Field(
        5.0, gt=0, le=_LARGEST, description="iterations of `paper` and `authors`, per row; at least 100 in all"
    )
    repair_rounds: Whole = Field(10, ge=1, le=_MOST_ROUNDS, description="M: repairs tried per proposal (Algorithm 2)")
    folds: Whole = Field(
        4,
        ge=2,
        le=_MOST_ROUNDS,
        description="G: parts a sweep of `folds` divides the rows into, under `utility`; F: of `scalable`",
    )
    restarts: Whole = Field(
        4,
        ge=1,
        le=_MOST_ROUNDS,
        description="independent starts of `folds` under `utility`, at most; two that agree are enough",
    )
    initial_rows: Whole = Field(
        24, ge=2, le=_MOST_ROWS, description="rows that every start of `folds` labels, under `utility`"
    )
    sweeps: Whole = Field(
        5, ge=1, le=_MOST_ROUNDS, description="sweeps of `folds` over all rows under `utility`, at most"
    )
    rounds: Whole = Field(4, ge=1, le=_MOST_ROUNDS, description="rounds of `bootstrap` and of `scalable`, at most")
    start: Start = Field(
        Start.ANCHOR,
        description="the labels that the first trainings of `scalable` learn: those that a search of anchor_rows "
        "finds, or random ones, which lead to the inverse of the right labels as often as not",
    )
    batch_rows: Whole = Field(256, ge=2, le=_MOST_ROWS, description="rows of each batch of `iterative`")
    epochs: Whole = Field(3, ge=1, le=_MOST_ROUNDS, description="of each training of `scalable` and `iterative`")
    learning_rate: Number | None = Field(
        None, gt=0, lt=1, description="of each training; null: 0.001, which suits small language models (LoRA)"
    )
    consistency: Truth = Field(default=True, description="whether `bootstrap` respects the relations")
    exact_confidence: Truth = Field(
        default=True,
        description="under `utility`, score every row given all others at the end; false: given those outside its fold",
    )
    max_demonstrations: Whole | None = Field(
        None, ge=1, le=_LAST, description="maximum of demonstrations in one prompt; null: as many as fit"
    )
    anchor_rows: Whole = Field(
        128, ge=2, le=_MOST_ROWS, description="rows of the anchor; a data set of up to twice as many rows is one shard"
    )
    second_opinions: Whole = Field(
        2,
        ge=0,
        le=_MOST_ROUNDS,
        description="further orders of the anchor's rows for a second score of doubtful rows of later shards",
    )
    shard_rows: Whole = Field(256, ge=1, le=_LAST, description="rows of each later shard")

    @model_validator(mode="after")
    def _strategy_raises_the_objective(self) -> Self:
        raised = self.strategy.approach.searches
        if self.objective is not None and self.objective not in raised:
            able = " or ".join(repr(each.value) for each in StrategyName if self.objective in each.approach.searches)
            own = " or ".join(repr(each.value) for each in raised)
            message = f"objective {self.objective.value!r} is for strategy {able}"
            raise ValueError(f"{message}; {self.strategy.value!r} raises {own}")
        return self

    @model_validator(mode="after")
    def _starts_at_random_where_that_can_be(self) -> Self:
        if self.start is Start.RANDOM and self.strategy is not StrategyName.SCALABLE:
            raise ValueError(f"start {self.start.value!r} is for strategy 'scalable', not for {self.strategy.value!r}")
        return self

    @property
    def raised(self) -> Objective:
        """What the search raises."""
        return self.objective or self.strategy.approach.default_objective


class Limits(StrictModel):
    """Limits at which the search stops early, with its labels so far."""

    max_tokens_computed: Whole | None = Field(None, gt=0, le=_LAST)
    max_seconds: Number | None = Field(None, gt=0)


class EarlierResults(StrEnum):
    """Treatment of columns of a result, such as `icm_label`, in a data set that you send again."""

    REFUSE = "refuse"
    DROP = "drop"
    RENAME = "rename"


class JobConfig(StrictModel):
    """All choices of a user about a job."""

    name: str = Field("", max_length=200)
    model: str = "default"
    preset: Preset | None = Field(None, description="supplies the fields that `task` omits")
    task: Task
    method: Method = Method.ICM
    earlier_results: EarlierResults = Field(
        EarlierResults.REFUSE,
        description="treatment of columns of an earlier result, such as icm_label; rename prefixes earlier_",
    )
    search: SearchConfig = SearchConfig()
    limits: Limits = Limits()

    @property
    def trains(self) -> bool:
        """Whether labels are found by trainings."""
        return self.method.baseline is None and self.search.strategy.approach.trains

    @classmethod
    def stored(cls, values: Mapping[str, Any]) -> Self:
        """The configuration as it was stored with a job.

        Releases before the objective was a choice raised the paper's utility; their jobs continue so. Settings that
        another release had and this one has not are ignored, so that its jobs can still be read.
        """
        search = {"objective": Objective.UTILITY, **values.get("search", {})}
        return cls.model_validate({**values, "search": search}, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        """Put the preset's fields under the task's own."""
        if not isinstance(values, dict) or values.get("preset") not in list(Preset):
            return values
        task = values.get("task") or {}
        filled = {**PRESETS[Preset(values["preset"])], **task} if isinstance(task, dict) else task
        return {**values, "task": filled}
