"""Planted data sets that the report must warn of, three or more for every way in which labels go wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from service.jobs.reporting.verdicts import Verdict
from service.jobs.task.template import Template
from tests.planted.labelling import Case
from tests.planted.rows import TEMPLATE, Row, claims, config, drawn, of_each, truth, truth_by, with_known
from tests.planted.scorers import Belief, BelievingScorer, Concept, FailingScorer, Torn, echo, noise, one_label
from tests.support.sources import PretendTrainer

COUNT = 48  # rows
THREE = ("good", "bad", "neither")


def failing() -> list[Case]:
    """All cases."""
    modes = (
        collapsed(),
        imbalanced(),
        few(),
        tied(),
        meaningless(),
        shortcuts(),
        columns(),
        contradictory(),
        undecidable(),
        disagreeing(),
        limited(),
        failed(),
        learned_more_slowly(),
        contradicted(),
        unsettled(),
    )
    return [case for mode in modes for case in mode]


def case(name: str, code: str, belief: Belief, rows: Sequence[Row], *, unusable: bool = False, **changes: Any) -> Case:
    """A case whose language model has this belief, with changes of the configuration."""
    return Case(
        name=f"{code}: {name}",
        verdict=Verdict.DO_NOT_USE if unusable else Verdict.SUSPICIOUS,
        code=code,
        rows=rows,
        config=config(**changes),
        scorer=partial(BelievingScorer, belief),
    )


def collapsed() -> Iterator[Case]:
    worlds: dict[str, tuple[Belief, dict[str, Any]]] = {
        "always the first label": (one_label(0), {}),
        "always the last of three": (one_label(2), {"labels": THREE}),
        "repeats the demonstrations": (echo(), {}),
        "repeats one of three": (echo(), {"labels": THREE, "seed": 2}),
    }
    for seed, (name, (belief, changes)) in enumerate(worlds.items()):
        yield case(name, "class_collapse", belief, claims(COUNT, seed), unusable=True, **changes)


def imbalanced() -> Iterator[Case]:
    for seed, weights in enumerate([(97, 3), (3, 97), (98, 2), (96, 2, 2)]):
        rows = claims(80, seed)
        labels = THREE if len(weights) == 3 else ("True", "False")
        belief = Concept(truth(rows, _few(80, seed, weights)))
        yield case(f"{weights} of a hundred", "imbalance", belief, rows, labels=labels)


def few() -> Iterator[Case]:
    """Too few rows for any verdict."""
    for count in (2, 5, 7):
        rows = claims(count, count)
        yield case(f"{count} rows", "too_few_rows", Concept(truth(rows, drawn(count, count, 1, 1))), rows)


def _few(count: int, seed: int, weights: Sequence[int]) -> list[int]:
    """Labels with exactly these shares, at random places."""
    common = weights.index(max(weights))
    rare = [label for label, weight in enumerate(weights) if label != common]
    labels = [common] * count
    places = [(7 * seed + 13 * number) % count for number in range(2)]
    for number, place in enumerate(places):
        labels[place] = rare[number % len(rare)]
    return labels


def tied() -> Iterator[Case]:
    for seed in range(3):
        rows = claims(COUNT, seed)
        yield case(f"two labels, {seed}", "polarity", Concept(truth(rows, drawn(COUNT, seed, 1, 1)), home=0.0), rows)
    rows = claims(COUNT, 9)
    belief = Concept(truth(rows, drawn(COUNT, 9, 1, 1, 1)), home=0.0)
    yield case("three labels", "polarity", belief, rows, labels=THREE)


def learned_more_slowly() -> Iterator[Case]:
    """In context the language model inverts the labels; in training it learns the right ones faster."""
    searches: Sequence[tuple[str, Sequence[str], dict[str, Any]]] = (
        ("folds", ("True", "False"), {"strategy": "scalable", "anchor_rows": 24}),
        ("batches", ("True", "False"), {"strategy": "iterative", "batch_rows": 24}),
        ("three labels", THREE, {"strategy": "scalable", "anchor_rows": 24, "folds": 2}),
    )
    for seed, (name, labels, search) in enumerate(searches):
        rows = claims(COUNT, seed)
        right = drawn(COUNT, seed, *[1] * len(labels))
        believed = Concept(truth(rows, [(label + 1) % len(labels) for label in right]))
        planted = case(name, "polarity_trial", believed, rows, labels=labels, **search)
        learner = BelievingScorer(Concept(truth(rows, right), home=2.0))
        yield replace(planted, trainer=partial(PretendTrainer, scorer=learner))


def meaningless() -> Iterator[Case]:
    for seed in range(3):
        belief = noise(seed, 4.0)
        yield case(f"answers by lot, {seed}", "no_concept", belief, claims(120, seed), unusable=True, seed=seed)
    belief = noise(9, 5.0)
    yield case("three labels by lot", "no_concept", belief, claims(120, 9), unusable=True, labels=THREE)


def contradicted() -> Iterator[Case]:
    """The language model tells rows apart by another concept than the one that the known rows have."""
    for seed, labels in enumerate([("True", "False"), ("True", "False"), THREE]):
        rows = claims(72, seed)
        right = drawn(72, seed, *[1] * len(labels))
        # Of each label as many are known as another as agree with the concept: a guess is no worse.
        each = 4 * len(labels)
        known = {place: (right[place] + n) % len(labels) for n, place in enumerate(of_each(right, each))}
        belief = Concept(truth(rows, right), home=3.0)
        told = with_known(rows, known, labels)
        name = f"another concept, {len(labels)} labels, {seed}"
        yield case(name, "known_rows", belief, told, unusable=True, labels=labels, known_field="sure", seed=seed)


def unsettled() -> Iterator[Case]:
    """The language model answers about two rows in five by lot, so that its looks at them agree by chance alone."""
    for seed, labels in enumerate([("True", "False"), ("True", "False"), THREE]):
        rows = claims(72, seed)
        right = truth(rows, drawn(72, seed, *[1] * len(labels)))
        by_lot = frozenset(text for number, text in enumerate(right) if number % 5 < 2)
        belief = Concept(right, undecided=by_lot)
        yield case(f"two rows in five, {len(labels)} labels, {seed}", "expected_errors", belief, rows, labels=labels)


def shortcuts() -> Iterator[Case]:
    rendered = Template(TEMPLATE)
    for seed in range(3):
        rows = claims(COUNT, seed)
        middle = sorted(len(rendered.render(row)) for row in rows)[COUNT // 2]
        by_length = truth(rows, [int(len(rendered.render(row)) < middle) for row in rows])
        yield case(f"long texts, {seed}", "shortcut", Concept(by_length), rows)
        by_position = truth_by(rows, lambda number, _: int(number >= COUNT // 2))
        yield case(f"the first half, {seed}", "shortcut", Concept(by_position), rows)
    rows = claims(60, 7)
    by_third = truth_by(rows, lambda number, _: number // 20)
    yield case("thirds, three labels", "shortcut", Concept(by_third), rows, labels=THREE)


def columns() -> Iterator[Case]:
    shown = "From {source}: {number} {claim} It is"
    for seed in range(3):
        rows = claims(COUNT, seed)
        by_source = truth_by(rows, lambda _, row: int(row["source"] == "web"), shown)
        yield case(f"a source that is shown, {seed}", "shortcut", Concept(by_source), rows, template=shown)
        by_year = truth_by(rows, lambda _, row: int(row["year"] < 1985))
        yield case(f"a year that is not shown, {seed}", "shortcut", Concept(by_year), rows)
    rows = claims(60, 8)
    by_source = truth_by(rows, lambda _, row: ("web", "book", "talk").index(row["source"]))
    yield case("a source, three labels", "shortcut", Concept(by_source), rows, labels=THREE)


def contradictory() -> Iterator[Case]:
    """Some rows that no labelling can satisfy among healthy ones; the search accepts the fewest conflicts."""
    both = [{"kind": "same_label", "group": "pair"}, {"kind": "different_label", "group": "rivals"}]
    for seed in range(3):
        pairs = [number // 2 for number in range(COUNT)]
        rows = [
            {**row, "pair": pair, "rivals": pair or None} for row, pair in zip(claims(COUNT, seed), pairs, strict=True)
        ]
        belief = Concept(truth(rows, drawn(COUNT, seed, 1, 1)))
        name = f"pairs both alike and different, {seed}"
        yield case(name, "conflicts", belief, rows, unusable=True, relations=both)
    for seed in range(2):
        rows = claims(COUNT, seed)
        rivals = {3: "twins", 7: "twins"}
        pairs_of = {**rivals, 20: "friends", 30: "friends"}
        few = [{**row, "pair": pairs_of.get(n), "rivals": rivals.get(n)} for n, row in enumerate(rows)]
        belief = Concept(truth(rows, drawn(COUNT, seed, 1, 1)))
        yield case(f"one such pair, {seed}", "conflicts", belief, few, relations=both)


def undecidable() -> Iterator[Case]:
    for seed in range(3):
        rows = claims(COUNT, seed)
        known = truth(rows, drawn(COUNT, seed, 1, 1))
        texts = list(known)
        half, most = frozenset(texts[::2]), frozenset(texts) - frozenset(texts[::4])
        yield case(f"half of the rows, {seed}", "uncertain", Concept(known, undecided=half), rows)
        belief = Concept(known, undecided=most)
        yield case(f"most rows, {seed}", "no_concept", belief, rows, unusable=True)


def disagreeing() -> Iterator[Case]:
    for seed in range(3):
        rows = claims(COUNT, seed)
        own, rival = (truth(rows, drawn(COUNT, 10 * seed + number, 1, 1)) for number in range(2))
        yield case(f"two truths, {seed}", "restarts_disagree", Torn(own, rival), rows, seed=seed)


def limited() -> Iterator[Case]:
    for seed, budget in enumerate((0.4, 0.5, 0.6)):
        rows = claims(COUNT, seed)
        belief = Concept(truth(rows, drawn(COUNT, seed, 1, 1)))
        yield replace(case(f"too few tokens, {seed}", "limit", belief, rows), budget=budget)


def failed() -> Iterator[Case]:
    for calls in (0, 5, 12):
        yield Case(
            name=f"failed: after {calls} calls",
            verdict=Verdict.DO_NOT_USE,
            code="failed",
            rows=claims(COUNT, calls),
            config=config(),
            scorer=partial(FailingScorer, calls),
        )
