"""Planted data sets of many shapes that the report must not warn of."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from service.jobs.reporting.verdicts import Verdict
from tests.planted.labelling import Case
from tests.planted.rows import Row, claims, config, drawn, of_each, truth, truth_by, with_known
from tests.planted.scorers import BelievingScorer, Concept, Misread
from tests.support.sources import PretendTrainer

FOUR = ("sport", "politics", "science", "music")


def healthy() -> list[Case]:
    """All cases."""
    return [*plain(), *related(), *comparisons(), *shapes(), *trained(), *misread()]


def case(name: str, known: dict[str, int], rows: Sequence[Row], **changes: Any) -> Case:
    """A case whose language model knows the truth."""
    scorer = partial(BelievingScorer, Concept(known))
    return Case(
        name=f"healthy: {name}", verdict=Verdict.OK, code=None, rows=rows, config=config(**changes), scorer=scorer
    )


def plain() -> Iterator[Case]:
    for seed in range(3):
        rows = claims(48, seed)
        yield case(f"two labels, {seed}", truth(rows, drawn(48, seed, 1, 1)), rows, seed=seed)
    for seed in range(2):
        rows = claims(60, seed)
        yield case(f"three in ten, {seed}", truth(rows, drawn(60, seed, 7, 3)), rows, seed=seed)
    for classes in (3, 4):
        rows = claims(72, classes)
        known = truth(rows, drawn(72, classes, *[1] * classes))
        yield case(f"{classes} labels", known, rows, labels=FOUR[:classes])


def trained() -> Iterator[Case]:
    """Rows labelled by trainings; these learn the same as the language model knows in context."""
    for seed, search in enumerate(
        ({"strategy": "scalable", "anchor_rows": 24}, {"strategy": "iterative", "batch_rows": 24})
    ):
        rows = claims(48, seed)
        known = truth(rows, drawn(48, seed, 1, 1))
        learner = BelievingScorer(Concept(known))
        healthy = case(f"strategy {search['strategy']}", known, rows, **search)
        yield replace(healthy, trainer=partial(PretendTrainer, scorer=learner))


def misread() -> Iterator[Case]:
    """Words taken for one another, so that no demonstration helps: the labels gain nothing, known rows prove them."""
    for seed, labels in enumerate([("True", "False"), ("True", "False"), FOUR]):
        rows = claims(72, seed)
        right = drawn(72, seed, *[1] * len(labels))
        known = {place: right[place] for place in of_each(right, 16 // len(labels))}
        told = with_known(rows, known, labels)
        changes = {"labels": labels, "known_field": "sure", "seed": seed}
        healthy = case(f"words misread, {len(labels)} labels, {seed}", {}, told, **changes)
        yield replace(healthy, scorer=partial(BelievingScorer, Misread(truth(rows, right))))


def related() -> Iterator[Case]:
    """Questions with four answers, one of them true; paraphrases with equal labels."""
    for seed in range(2):
        rows = [{**row, "question": number // 4} for number, row in enumerate(claims(64, seed))]
        right = [Random(seed + number // 4).randrange(4) for number in range(64)]
        known = truth(rows, [int(number % 4 != right[number]) for number in range(64)])
        relations = [{"kind": "at_most_one", "group": "question"}]
        yield case(f"one answer in four, {seed}", known, rows, relations=relations)
        rows = [{**row, "meaning": number // 2} for number, row in enumerate(claims(48, seed))]
        halves = drawn(24, seed, 1, 1)
        known = truth(rows, [halves[number // 2] for number in range(48)])
        yield case(f"paraphrases, {seed}", known, rows, relations=[{"kind": "same_label", "group": "meaning"}])


def comparisons() -> Iterator[Case]:
    """Comparisons of numbers, with and without the rule that a pair and its twin differ."""
    template = "{n1} is larger than {n2}. It is"
    for seed in range(2):
        rng = Random(seed)
        pairs = [(first, second) for first in range(50, 60) for second in range(50, 60) if first < second]
        chosen = rng.sample(pairs, 30)
        rows = [{"n1": one, "n2": two} for pair in chosen for one, two in (pair, pair[::-1])]
        known = truth_by(rows, lambda _, row: int(row["n1"] < row["n2"]), template)
        twins = [{"kind": "antisymmetric", "first": "n1", "second": "n2"}]
        yield case(f"numbers and their twins, {seed}", known, rows, template=template, relations=twins)
        yield case(f"numbers, {seed}", known, rows, template=template)


def shapes() -> Iterator[Case]:
    """Small and large sets, several shards, another strategy or sum, a column that contains the claim."""
    rows = claims(16, 1)
    yield case("sixteen rows", truth(rows, drawn(16, 1, 1, 1)), rows)
    shards = {"anchor_rows": 96, "shard_rows": 96}
    for classes in (2, 3):
        rows = claims(300, classes)
        known = truth(rows, drawn(300, classes, *[1] * classes))
        yield case(f"several shards, labels: {classes}", known, rows, labels=FOUR[:classes], **shards)
    rows = claims(24, 4)
    yield case("Algorithm 1", truth(rows, drawn(24, 4, 1, 1)), rows, strategy="paper")
    rows = claims(48, 5)
    yield case("printed sum", truth(rows, drawn(48, 5, 1, 1)), rows, normalization="sum")
    rows = claims(48, 6)
    known = truth_by(rows, lambda _, row: int(row["claim"] < "e"), "{claim} is")
    yield case("a claim of its own", known, rows, template="{claim} is")
    rows = [{"n": number} for number in Random(7).sample(range(10, 100), 60)]
    known = truth_by(rows, lambda _, row: row["n"] % 2, "{n} is even. It is")
    yield case("even numbers", known, rows, template="{n} is even. It is")
    rows = [{"n": number} for number in Random(8).sample(range(10, 100), 60)]
    known = truth_by(rows, lambda _, row: int(row["n"] < 50), "{n} is at least fifty. It is")
    yield case("a column that is the claim itself", known, rows, template="{n} is at least fifty. It is")
