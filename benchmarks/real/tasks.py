"""Real text with gold labels: the question of each task, and the rows of each cell of the benchmark."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from api.labelling.configuration import parse_config
from service.config import JobConfig
from service.identifiers import Label, Row
from service.jobs.task.relations import compile_constraints
from service.jobs.task.template import Template
from service.search.rules.consistency import Constraint, Constraints
from service.values import as_text

KNOWN_ROWS = 16  # rows beside those of the cell whose gold labels a method may be given

Fields = Mapping[str, Any]

_SENTIMENT = {"template": "Review: {text}\nSentiment:", "labels": ["positive", "negative"]}
_TOPIC = {"template": "Headline: {text}\nTopic:", "labels": ["World", "Sports", "Business", "Technology"]}
_CLAIM = "{statement}\nI think this claim is"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealTask:
    """A file of rows and the question about them.

    `config` holds `task` or `preset` of a job's configuration. `words` says which label stands for a
    gold value where it is another word; `shares` are those of the gold labels, where rows are drawn to
    have them, and else those of the file.
    """

    file: str
    config: Mapping[str, Any]
    gold_field: str = "label"
    words: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)


TASKS: Mapping[str, RealTask] = {
    "sst2": RealTask(file="real/sst2.jsonl", config={"task": _SENTIMENT}),
    "ag_titles": RealTask(file="real/ag_titles.jsonl", config={"task": _TOPIC}),
    "cities": RealTask(
        file="cities.jsonl",
        config={"task": {"template": _CLAIM, "relations": [{"kind": "at_most_one", "group": "city"}]}},
    ),
    "larger_than": RealTask(
        file="larger_than.jsonl",
        config={"task": {"template": _CLAIM, "relations": [{"kind": "antisymmetric", "first": "n1", "second": "n2"}]}},
    ),
    "truthfulqa": RealTask(file="truthfulqa_256.jsonl", config={"preset": "truthfulqa"}),
    "sst2_80_20": RealTask(
        file="real/sst2.jsonl", config={"task": _SENTIMENT}, shares={"positive": 0.8, "negative": 0.2}
    ),
    "sst2_90_10": RealTask(
        file="real/sst2.jsonl", config={"task": _SENTIMENT}, shares={"positive": 0.9, "negative": 0.1}
    ),
    "sst2_swapped": RealTask(
        file="real/sst2.jsonl",
        config={"task": _SENTIMENT},
        words={"positive": "negative", "negative": "positive"},
    ),
    "ag_letters": RealTask(
        file="real/ag_titles.jsonl",
        config={"task": {**_TOPIC, "labels": ["A", "B", "C", "D"]}},
        words={"World": "A", "Sports": "B", "Business": "C", "Technology": "D"},
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The rows of a cell. `known` are rows of the same task outside the cell, each with its gold label."""

    config: JobConfig
    texts: Mapping[Row, str]
    constraints: Sequence[Constraint]
    gold: Mapping[Row, Label]
    known: Sequence[tuple[str, Label]]


def draw(name: str, folder: Path, rows: int, seed: int, *, known: int = KNOWN_ROWS) -> Drawn:
    """Draw `rows` rows of a task by the seed; related rows come together or not at all.

    Tasks over the same file draw the same rows, unless they have their own shares. Raises OSError
    without the file and ValueError where it has too few rows.
    """
    task = TASKS[name]
    config = parse_config({**task.config, "search": {"seed": seed}})
    with (folder / task.file).open(encoding="utf-8") as lines:
        source: list[Fields] = [json.loads(line) for line in lines]
    gold = [_label(task, config, fields) for fields in source]
    groups = _groups(config, source)
    drawer = _Drawer(Random(f"{task.file} {seed}").sample(groups, len(groups)), gold)
    inside = drawer.take(rows, _quota(task, config, rows))
    outside = drawer.take(known, _known_quota(task, config, known))
    if len(inside) < rows or len(outside) < known:
        raise ValueError(f"{task.file} has too few rows for {rows} of {name} and {known} known ones beside them")
    template = Template(config.task.template)
    fields_of = {Row(number): source[place] for number, place in enumerate(inside)}
    return Drawn(
        config=config,
        texts={row: template.render(fields) for row, fields in fields_of.items()},
        constraints=tuple(compile_constraints(config.task.relations, config.task.labels, fields_of)),
        gold={Row(number): gold[place] for number, place in enumerate(inside)},
        known=[(template.render(source[place]), gold[place]) for place in outside],
    )


def _label(task: RealTask, config: JobConfig, fields: Fields) -> Label:
    value = as_text(fields[task.gold_field])
    wanted = task.words.get(value, value).casefold()
    return Label([label.casefold() for label in config.task.labels].index(wanted))


def _groups(config: JobConfig, source: Sequence[Fields]) -> Sequence[Sequence[int]]:
    """Places in the file, those together that a relation ties."""
    places = {Row(place): fields for place, fields in enumerate(source)}
    constraints = compile_constraints(config.task.relations, config.task.labels, places)
    return Constraints(list(places), list(constraints)).groups


def _quota(task: RealTask, config: JobConfig, rows: int) -> dict[Label, int] | None:
    """How many rows of each gold label there are to be; None where the file decides."""
    if not task.shares:
        return None
    return _counts({Label(config.task.labels.index(word)): share * rows for word, share in task.shares.items()}, rows)


def _known_quota(task: RealTask, config: JobConfig, rows: int) -> dict[Label, int] | None:
    """Evenly over the labels, as a person would choose them; by shares or relations where the task has some."""
    if task.shares or config.task.relations:
        return _quota(task, config, rows)
    classes = len(config.task.labels)
    return _counts({Label(label): rows / classes for label in range(classes)}, rows)


def _counts(exact: Mapping[Label, float], rows: int) -> dict[Label, int]:
    """Whole numbers near these that add up to `rows`, by largest remainders."""
    quota = {label: math.floor(count) for label, count in exact.items()}
    by_remainder = sorted(exact, key=lambda label: (quota[label] - exact[label], label))
    for label in by_remainder[: rows - sum(quota.values())]:
        quota[label] += 1
    return quota


class _Drawer:
    """Groups in a random order, each given out once."""

    def __init__(self, groups: Iterable[Sequence[int]], gold: Sequence[Label]) -> None:
        self._left = list(groups)
        self._gold = gold

    def take(self, rows: int, quota: dict[Label, int] | None) -> list[int]:
        """The next groups whose rows fit into the remaining number and into the quota of each label."""
        taken = [place for group in self._fitting(rows, quota) for place in group]
        gone = set(taken)
        self._left = [group for group in self._left if gone.isdisjoint(group)]
        return taken

    def _fitting(self, rows: int, quota: dict[Label, int] | None) -> Iterator[Sequence[int]]:
        for group in self._left:
            if len(group) > rows:
                continue
            labels = [self._gold[place] for place in group]
            if quota is not None:
                if any(quota[label] < labels.count(label) for label in labels):
                    continue
                for label in labels:
                    quota[label] -= 1
            rows -= len(group)
            yield group
