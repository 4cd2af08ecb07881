"""Small data sets: claims with labels that the planted language models may or may not follow."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from service.jobs.task.template import Template

Row = dict[str, Any]

TEMPLATE = "Claim {number}: {claim} It is"
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll", "lagoon")


def claims(count: int, seed: int) -> list[Row]:
    """Rows with a claim of random words, a random source and a random year."""
    rng = Random(seed)
    return [
        {
            "number": f"no. {number}",
            "claim": " ".join(rng.choices(WORDS, k=rng.randint(3, 8))),
            "source": rng.choice(["web", "book", "talk"]),
            "year": rng.randint(1950, 2020),
        }
        for number in range(count)
    ]


def drawn(count: int, seed: int, *weights: float) -> list[int]:
    """A random label for every row with these weights; every label occurs."""
    rng = Random(seed + 1000)
    labels = rng.choices(range(len(weights)), weights, k=count)
    for label, place in zip(range(len(weights)), rng.sample(range(count), len(weights)), strict=True):
        labels[place] = label
    return labels


def config(template: str = TEMPLATE, *, labels: Sequence[str] = ("True", "False"), **changes: Any) -> dict[str, Any]:
    """A configuration for such rows; `relations` and `known_field` belong to the task, other changes to the search."""
    task: dict[str, Any] = {"template": template, "labels": list(labels), "relations": changes.pop("relations", [])}
    task["known_field"] = changes.pop("known_field", None)
    return {"task": task, "search": {"seed": changes.pop("seed", 0), **changes}}


def truth(rows: Sequence[Mapping[str, Any]], labels: Sequence[int], template: str = TEMPLATE) -> dict[str, int]:
    """The label of every row's text."""
    rendered = Template(template)
    return {rendered.render(row): label for row, label in zip(rows, labels, strict=True)}


def truth_by(rows: Sequence[Row], label_of: Callable[[int, Row], int], template: str = TEMPLATE) -> dict[str, int]:
    """The label of every row's text by its position and fields."""
    return truth(rows, [label_of(number, row) for number, row in enumerate(rows)], template)


def with_known(rows: Sequence[Row], known: Mapping[int, int], labels: Sequence[str] = ("True", "False")) -> list[Row]:
    """The rows with the labels that their user knows, by position, in a column of their own."""
    return [{**row, "sure": labels[known[n]] if n in known else None} for n, row in enumerate(rows)]


def of_each(labels: Sequence[int], count: int) -> list[int]:
    """The first positions of each label, so many of them, label by label."""
    return [place for label in sorted(set(labels)) for place in _places(labels, label)[:count]]


def _places(labels: Sequence[int], label: int) -> list[int]:
    return [place for place, own in enumerate(labels) if own == label]
