"""A cell: one method on one task, language model and seed, made and measured."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchmarks.local import resolve
from benchmarks.measures import COLLAPSED, accuracy, mean_demonstration_tokens
from benchmarks.real import quality
from benchmarks.real.methods import METHODS
from benchmarks.real.outcome import Find, Material, Outcome
from benchmarks.real.scorer import Loaded, RealScorer
from benchmarks.real.tasks import Drawn, draw
from service.identifiers import Label
from service.jobs.task.problem import SPECIAL_TOKENS, search_parameters
from service.search.predictions.prompt_tree import Usage
from service.search.state.objective import utility
from service.search.state.problem import Problem

Measured = Mapping[str, Any]  # JSON values


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The identity of a cell. `model` is the short name that the command line gives a language model."""

    task: str
    model: str
    seed: int  # of the rows and of the search
    method: str
    rows: int

    def __str__(self) -> str:
        return f"{self.model} {self.task} N={self.rows} seed={self.seed} {self.method}"


@dataclass(frozen=True, slots=True)
class _Found:
    """The outcome of a method on a problem, and its cost."""

    problem: Problem
    outcome: Outcome
    usage: Usage
    seconds: float
    demonstration_tokens: float


class Bench:
    """Makes cells on one language model; methods with the same `find` share its prompts for a task and seed."""

    def __init__(self, loaded: Loaded, data: Path) -> None:
        self._loaded, self._data = loaded, data
        self._found: dict[Find, _Found] = {}
        self._place: tuple[object, ...] = ()

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the language model."""
        return self._loaded.language_model.sha

    def measure(self, cell: Cell) -> Measured:
        """Run the cell's method and measure it. Raises OSError and ValueError for data that are not there."""
        method = METHODS[cell.method]
        drawn = draw(cell.task, self._data, cell.rows, cell.seed)
        found = self._find(cell, drawn, method.find)
        return _measured(replace(found, outcome=method.read(found.outcome)), drawn)

    def _find(self, cell: Cell, drawn: Drawn, find: Find) -> _Found:
        place = (cell.task, cell.seed, cell.rows)
        if place != self._place:
            self._place, self._found = place, {}
        if find not in self._found:
            self._found[find] = _asked(drawn, self._loaded, find)
        return self._found[find]


def _asked(drawn: Drawn, loaded: Loaded, find: Find) -> _Found:
    scorer = RealScorer(loaded, drawn.config.task.labels, next(iter(drawn.texts.values())))
    problem = problem_of(drawn, scorer)
    known = _fitting(drawn.known, problem, scorer)
    tokens = _known_tokens(known, problem, scorer)
    material = Material(config=drawn.config, problem=problem, gold=drawn.gold, known=known, known_tokens=tokens)
    began = time.perf_counter()
    outcome = resolve(find(material), scorer)
    seconds = time.perf_counter() - began
    return _Found(problem, outcome, scorer.usage, seconds, mean_demonstration_tokens(problem, scorer))


def problem_of(drawn: Drawn, scorer: RealScorer) -> Problem:
    """The rows as one shard, with the service's own parameters and as many demonstrations as the context takes.

    Raises ValueError for a row that does not fit the context.
    """
    task = drawn.config.task
    longest_label = max(task.labels, key=scorer.count)
    tokens = {row: scorer.count(f"{text} {longest_label}{task.separator}") for row, text in drawn.texts.items()}
    budget = scorer.context_tokens - SPECIAL_TOKENS - max(tokens.values())
    if budget < 0:
        raise ValueError(f"a row of {max(tokens.values())} tokens does not fit a context of {scorer.context_tokens}")
    return Problem(
        texts=drawn.texts,
        labels=tuple(task.labels),
        separator=task.separator,
        constraint_list=drawn.constraints,
        demonstration_tokens=tokens,
        budget_tokens=budget,
        parameters=search_parameters(drawn.config),
    )


def _fitting(known: Sequence[tuple[str, Label]], problem: Problem, scorer: RealScorer) -> list[tuple[str, Label]]:
    """The first known rows, as many as a prompt takes as demonstrations."""
    lengths = _known_tokens(known, problem, scorer)
    return [row for row, end in zip(known, accumulate(lengths), strict=True) if end <= (problem.budget_tokens or 0)]


def _known_tokens(known: Sequence[tuple[str, Label]], problem: Problem, scorer: RealScorer) -> list[int]:
    return [scorer.count(f"{text} {problem.labels[label]}{problem.separator}") for text, label in known]


def _measured(found: _Found, drawn: Drawn) -> Measured:
    problem, outcome = found.problem, found.outcome
    labels, scores = outcome.labels, outcome.scores
    shares = quality.shares(labels, problem.labels)
    area = quality.auroc(scores, drawn.gold)
    return {
        "accuracy": round(accuracy(labels, drawn.gold), 4),
        "labelled": len(labels) / len(problem.rows),
        "shares": _rounded(shares),
        "gold_shares": _rounded(quality.shares(drawn.gold, problem.labels)),
        "collapsed": max(shares.values()) >= COLLAPSED,
        "auroc": None if area is None else round(area, 4),
        "utility": round(utility(problem, labels, scores), 4),
        "unsure": quality.unsure(labels, scores),
        "confidence": round(quality.confidence(labels, scores), 4),
        "calibration_error": round(quality.calibration_error(labels, scores, drawn.gold), 4),
        "calibration_error_by_chance": round(quality.calibration_error_by_chance(labels, scores), 4),
        "squared_calibration_error": round(quality.squared_calibration_error(labels, scores, drawn.gold), 6),
        "conflicts": len(problem.constraints.conflicts(labels)),
        **_cost(found),
        "met": [[met.measure, round(accuracy(met.labels, drawn.gold), 4)] for met in outcome.met],
        "ablated": {name: round(accuracy(labels, drawn.gold), 4) for name, labels in outcome.ablated.items()},
        "facts": dict(outcome.facts),
    }


def _cost(found: _Found) -> Measured:
    """Tokens in all, and per row in units of L, the mean tokens of a row as demonstration."""
    unit = found.demonstration_tokens * len(found.problem.rows)
    return {
        "prompts": found.usage.prompts,
        "tokens_sent": found.usage.tokens_sent,
        "tokens_computed": found.usage.tokens_computed,
        "demonstration_tokens": round(found.demonstration_tokens, 3),
        "sent": round(found.usage.tokens_sent / unit, 3),
        "computed": round(found.usage.tokens_computed / unit, 3),
        "seconds": round(found.seconds, 2),
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
