"""Reads the content of a training's page from the report that its process wrote (docs/training.md).

Reports of earlier releases and of other kinds lack some fields; the page leaves these out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.page.charts import Curve, thinned
from service.records.training_kinds import figures_of_base

_MOST_POINTS = 300  # of a curve
_FIGURES = {  # of held-out rows and of steps: name, unit
    "agreement": ("agreement with the labels", "share"),
    "accuracy": ("accuracy", "share"),
    "gold_accuracy": ("accuracy by gold", "share"),
    "nats": ("loss on held-out rows", "nats"),
    "loss": ("loss", "nats"),
    "reward": ("reward", ""),
    "reward_standard_error": ("standard error of the reward", ""),
    "kl_nats": ("KL divergence from the base", "nats per completion"),
    "completion_tokens": ("length of completions", "tokens"),
    "repetition": ("repetition", "share of adjacent tokens"),
}
_BIASES = {  # of a reward model on held-out pairs: part and figure of the report, in words
    ("length", "longer_chosen"): "pairs whose longer text is the better one by the labels",
    ("length", "accuracy_where_longer_is_right"): "ranked right, where the longer text is better",
    ("length", "accuracy_where_shorter_is_right"): "ranked right, where the shorter text is better",
    ("length", "reward_by_length"): "correlation of reward and length",
    ("position", "first_chosen"): "pairs whose first text is the better one by the labels",
    ("position", "accuracy_where_first_is_right"): "ranked right, where the first text is better",
    ("position", "accuracy_where_second_is_right"): "ranked right, where the second text is better",
}

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements on held-out rows at one point, in the order of the table's columns; None: not measured."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class TrainingPage:
    """The content of the page beside the training's own fields."""

    warnings: Sequence[Facts]  # of a policy: code, message
    outcome: Facts  # of a policy: the published one beside the base; empty for other kinds
    samples: Sequence[Facts]  # of a policy: prompt, base, policy
    curves: Sequence[Curve]
    columns: Sequence[str]
    measured: Sequence[Measured]
    biases: Mapping[str, float]  # of a reward model: words, figure
    calibration: Facts  # of a reward model: error and bins
    ended_early: str | None
    polarity: Facts
    cost: Facts

    @classmethod
    def of(cls, report: Facts, config: Facts) -> "TrainingPage":
        """Read the report of a training with this configuration."""
        training, outcome = _part(report, "training"), _part(report, "after")
        points = dict(_points(report, training))
        shown = [name for name in _FIGURES if any(facts.get(name) is not None for facts in points.values())]
        return cls(
            warnings=outcome.get("warnings") or (),
            outcome=outcome,
            samples=outcome.get("samples") or (),
            curves=list(_curves(training, _part(config, "policy").get("kl_limit"))),
            columns=[", ".join(filter(None, _FIGURES[name])) for name in shown],
            measured=[Measured(name, [facts.get(figure) for figure in shown]) for name, facts in points.items()],
            biases=_biases(_last_held_out(training)),
            calibration=_calibration(_last_held_out(training)),
            ended_early=training.get("ended_early"),
            polarity=_part(report, "polarity"),
            cost=_cost(training),
        )


def _points(report: Facts, training: Facts) -> Iterator[tuple[str, Facts]]:
    """Figures of held-out rows: of the base, after each epoch, and of controls at their end."""
    yield "base", figures_of_base(report)
    for one in training.get("epochs") or ():
        yield f"epoch {one['epoch']:g}", _part(one, "held_out")
    for name, control in _part(report, "controls").items():
        last = (control.get("epochs") or [{}])[-1]
        yield f"control {name}", _part(last, "held_out")


def _last_held_out(training: Facts) -> Facts:
    """Figures of held-out rows after the last epoch."""
    epochs = training.get("epochs") or [{}]
    return _part(epochs[-1], "held_out")


def _biases(held_out: Facts) -> Mapping[str, float]:
    """The biases that were measured; texts of one length, or in an unknown order, have none."""
    figures = ((words, _part(held_out, part).get(name)) for (part, name), words in _BIASES.items())
    return {words: figure for words, figure in figures if figure is not None}


def _calibration(held_out: Facts) -> Facts:
    found = _part(held_out, "calibration")
    return found if found.get("bins") else {}


def _curves(training: Facts, kl_limit: float | None) -> Iterator[Curve]:
    """A policy's curves; for other kinds the loss, which means nothing for a policy."""
    curves = _part(training, "curves") or {"loss": training.get("loss") or ()}
    for name, values in curves.items():
        points = [(float(step), float(value)) for step, value in values if value is not None]
        if points:
            title, unit = _FIGURES.get(name, (name, ""))
            limit = kl_limit if name == "kl_nats" else None
            yield Curve(title, unit, thinned(points, _MOST_POINTS), limit)


def _cost(training: Facts) -> Facts:
    memory = _part(training, "peak_memory")
    cost = {name: training.get(name) for name in ("steps", "tokens", "tokens_per_second", "seconds", "cpu_seconds")}
    return cost | {"bytes": memory.get("bytes"), "gpu_bytes": memory.get("gpu_bytes")}


def _part(facts: Facts, name: str) -> Facts:
    """The part of this name; empty if the report lacks it."""
    return facts.get(name) or {}
