"""A job's configuration as the service works with it.

`api/job_config.py` checks what users ask for; `service/storage/stored_config.py` keeps it with the job and reads what
any earlier release has kept. Nothing is checked here, so that a rule for new jobs never makes an old one unreadable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any

from service.placeholders import template_fields
from service.presets import Preset
from service.relations.registry import AnyKind
from service.relations.relation import BaseRelation
from service.search.state.objective import Objective
from service.search.state.problem import Start
from service.search.strategies.queries_left import ASKED_ONCE, Forecast
from service.search.strategies.registry import Method, StrategyName

ShareBounds = float | tuple[float, float]


class Normalization(StrEnum):
    """Whether mutual predictability is a mean or a sum over rows."""

    MEAN = "mean"
    SUM = "sum"  # the formula as printed


class EarlierResults(StrEnum):
    """Treatment of columns of a result, such as `icm_label`, in a data set that you send again."""

    REFUSE = "refuse"
    DROP = "drop"
    RENAME = "rename"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The question about each row and its possible answers."""

    template: str
    labels: list[str] = field(default_factory=lambda: ["True", "False"])
    all_spellings: bool = False
    id_field: str | None = None
    gold_field: str | None = None
    gold_values: Mapping[str, str] = field(default_factory=dict)
    known_field: str | None = None
    shares: Mapping[str, ShareBounds] = field(default_factory=dict)
    separator: str = "\n\n"
    relations: Sequence[AnyKind] = field(default_factory=list)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """Parameters of the search; the defaults are those of new jobs. `Parameters` of the search explains them."""

    strategy: StrategyName = StrategyName.FOLDS
    objective: Objective | None = None
    seed: int = 0
    alpha: float = 50.0
    normalization: Normalization = Normalization.MEAN
    seed_labels: int = 8
    initial_temperature: float = 10.0
    final_temperature: float = 0.01
    cooling: float = 0.99
    draws_per_row: float = 5.0
    repair_rounds: int = 10
    folds: int = 4
    restarts: int = 4
    initial_rows: int = 24
    sweeps: int = 5
    rounds: int = 4
    start: Start = Start.ANCHOR
    batch_rows: int = 256
    epochs: int = 3
    learning_rate: float | None = None
    consistency: bool = True
    exact_confidence: bool = True
    max_demonstrations: int | None = None
    anchor_rows: int = 128
    second_opinions: int = 2
    shard_rows: int = 256

    @property
    def raised(self) -> Objective:
        """The objective that the search maximises."""
        return self.objective or self.strategy.approach.default_objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits at which the search stops early, with its labels so far."""

    max_tokens_computed: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobConfig:
    """All choices of a user about a job."""

    name: str = ""
    model: str = "default"  # a configured backend, or the id of a finished training of kind label
    preset: Preset | None = None  # has supplied what the task omitted
    task: Task
    method: Method = Method.ICM
    reward: str | None = None  # the finished training of kind reward that method `reward_model` asks
    earlier_results: EarlierResults = EarlierResults.REFUSE
    search: SearchConfig = SearchConfig()
    limits: Limits = Limits()

    @property
    def trains(self) -> bool:
        """Whether labels are found by trainings."""
        return self.method.searches and self.search.strategy.approach.trains

    @property
    def forecast(self) -> Forecast | None:
        """How the queries left of the job are predicted; None if trainings find the labels.

        A reward model scores each row's text about once.
        """
        if self.method.asks_rewards:
            return ASKED_ONCE
        if self.method.baseline is not None:
            return self.method.baseline.forecast
        return self.search.strategy.approach.forecasts.get(self.search.raised)

    def as_json(self) -> dict[str, Any]:
        """The whole configuration as plain values, every default written out."""
        plain: dict[str, Any] = _plain(self)
        return plain


def _plain(value: Any) -> Any:
    """The value in JSON's types; a dataclass becomes an object with its fields in their order."""
    match value:
        case StrEnum():
            return value.value
        case BaseRelation():
            return value.model_dump(mode="json")
        case Mapping():
            return {name: _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _ if is_dataclass(value):
            return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        case _:
            return value
