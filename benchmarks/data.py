"""Draws data sets with known labels from the small model's world, related as the relations of a job would say."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

from inference.pretraining.documents import Style
from inference.pretraining.evaluate import forms
from inference.pretraining.world import TASKS, Claim, Task
from service.identifiers import Label, Row
from service.search.rules.consistency import Constraint, Rule
from service.search.state.problem import Parameters, Problem

LABELS = ("True", "False")
TRUE, FALSE = Label(0), Label(1)
TASK_OF: Mapping[str, str] = {"comparisons": "comparisons_digits"}  # where a data set's name is not its task's
_KEY: Mapping[str, tuple[str, ...]] = {  # the slots that make a question; the claims differ in the remaining one
    "additions": ("first", "second"),
    "capitals": ("country",),
    "cities": ("city",),
    "spanish": ("word",),
}
_CLAIMS = {2: 0.45, 3: 0.30, 4: 0.25}  # claims per question, with their shares
_MEAN_CLAIMS = 2.6  # a little below the mean, so that questions suffice
_ANSWERED = 0.9  # share of questions with a true claim among theirs
_POOL = 12_000  # claims drawn to fill the questions from
_ATTEMPTS = 200_000

Group = tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One row: its text, its gold label, and the claim it states."""

    text: str
    gold: Label
    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Rows with gold labels and relations, and fresh rows of the same task for tests."""

    name: str
    items: tuple[Item, ...]
    constraints: tuple[Constraint, ...]
    fresh: tuple[Item, ...]
    separator: str

    @property
    def gold(self) -> dict[Row, Label]:
        """The gold labels; no search sees them."""
        return {Row(number): item.gold for number, item in enumerate(self.items)}

    def problem(self, parameters: Parameters) -> Problem:
        """The rows as a problem of the search."""
        return Problem(
            texts={Row(number): item.text for number, item in enumerate(self.items)},
            labels=LABELS,
            separator=self.separator,
            constraint_list=self.constraints,
            parameters=parameters,
        )

    def regarded(self, concept: Callable[[Item], bool]) -> "Dataset":
        """The same rows under another concept: gold is what `concept` says, and nothing relates the rows."""
        items, fresh = (
            tuple(replace(item, gold=_label(concept(item))) for item in some) for some in (self.items, self.fresh)
        )
        return replace(self, items=items, fresh=fresh, constraints=())


def related(name: str, rows: int, seed: int, form: str, *, fresh: int = 0) -> Dataset:
    """A data set whose rows come in groups: twins of which one is true, or the claims about one question."""
    writer = _Writer.of(name, form)
    rng = Random(f"{name} {seed}")
    groups = _twins(writer.task, rng) if writer.task.name not in _KEY else _questions(writer.task, rows, rng)
    items: list[Item] = []
    constraints: list[Constraint] = []
    texts: set[str] = set()
    for phrasing, group in groups:
        written = [writer.item(claim, phrasing) for claim in group[: rows - len(items)]]
        if texts.isdisjoint(item.text for item in written):
            constraints += _constraint(writer.task, len(items), written)
            items += written
            texts.update(item.text for item in written)
        if len(items) == rows:
            return writer.dataset(name, items, constraints, writer.fresh(rng, fresh, texts))
    raise ValueError(f"{name} has no more than {len(items)} rows")


def unrelated(name: str, rows: int, seed: int, form: str, share_true: float = 0.5, *, fresh: int = 0) -> Dataset:
    """A data set without relations, with the given share of true claims."""
    writer = _Writer.of(name, form)
    rng = Random(f"{name} {seed} {share_true}")
    true = round(rows * share_true)
    items = writer.distinct(rng, rng.sample([True] * true + [False] * (rows - true), rows), set())
    return writer.dataset(name, items, (), writer.fresh(rng, fresh, {item.text for item in items}))


def even_name(item: Item) -> bool:
    """A concept that no language model is likely to hold of a claim about a city: its name's length is even."""
    return sum(letter.isalpha() for letter in item.claim.slots["city"]) % 2 == 0


def _label(truth: bool) -> Label:  # noqa: FBT001 - what a claim is about
    return TRUE if truth else FALSE


@dataclass(frozen=True, slots=True)
class _Writer:
    task: Task
    style: Style

    @classmethod
    def of(cls, name: str, form: str) -> "_Writer":
        [task] = [task for task in TASKS if task.name == TASK_OF.get(name, name)]
        return cls(task, forms(task)[form])

    def item(self, claim: Claim, phrasing: int = 0) -> Item:
        style = replace(self.style, phrasing={self.task.name: self.task.statements[phrasing]})
        return Item(style.prompt(self.task, claim), _label(claim.truth), claim)

    def distinct(self, rng: Random, truths: Sequence[bool], taken: set[str]) -> list[Item]:
        """A claim for each truth, none of them taken before."""
        items: list[Item] = []
        taken = set(taken)
        for truth in truths:
            drawn = (self.item(self.task.draw(rng, truth)) for _ in range(_ATTEMPTS))
            item = next((item for item in drawn if item.text not in taken), None)
            if item is None:
                raise ValueError(f"{self.task.name} has too few claims that are {truth}")
            taken.add(item.text)
            items.append(item)
        return items

    def fresh(self, rng: Random, count: int, taken: set[str]) -> list[Item]:
        """Rows of the same task that are not in the data set, half of them true."""
        return self.distinct(rng, [number % 2 == 0 for number in range(count)], taken)

    def dataset(
        self, name: str, items: Sequence[Item], constraints: Sequence[Constraint], fresh: Sequence[Item]
    ) -> Dataset:
        return Dataset(
            name=name,
            items=tuple(items),
            constraints=tuple(constraints),
            fresh=tuple(fresh),
            separator=self.style.separator,
        )


def _twins(task: Task, rng: Random) -> Iterator[tuple[int, Group]]:
    """Comparisons with their swapped twins."""
    while True:
        claim = task.draw(rng, rng.random() < 0.5)
        slots = claim.slots
        yield 0, (claim, Claim({**slots, "first": slots["second"], "second": slots["first"]}, not claim.truth))


def _questions(task: Task, rows: int, rng: Random) -> Iterator[tuple[int, Group]]:
    """Every question once with two to four claims, at most one of them true; phrased anew where rows are left."""
    true, false = _by_key(task, truth=True), _by_key(task, truth=False)
    phrasings = -(-rows // int(len(true) * _MEAN_CLAIMS))
    asked = [(phrasing, key) for phrasing in range(min(phrasings, len(task.statements))) for key in true]
    rng.shuffle(asked)
    for phrasing, key in asked:
        count = rng.choices(list(_CLAIMS), list(_CLAIMS.values()))[0]
        group = true[key][:1] if rng.random() < _ANSWERED else []
        group = group + rng.sample(false[key], count - len(group))
        yield phrasing, tuple(rng.sample(group, count))


@cache
def _by_key(task: Task, *, truth: bool) -> Mapping[tuple[str, ...], list[Claim]]:
    """Different claims for each question, in a fixed order; the same for every seed."""
    rng = Random(f"{task.name} {truth}")
    found: dict[tuple[str, ...], dict[str, Claim]] = defaultdict(dict)
    for _ in range(_POOL):
        claim = task.draw(rng, truth)
        key = tuple(claim.slots[slot] for slot in _KEY[task.name])
        found[key].setdefault(str(sorted(claim.slots.items())), claim)
    return {key: list(claims.values()) for key, claims in sorted(found.items())}


def _constraint(task: Task, first: int, items: Sequence[Item]) -> list[Constraint]:
    if len(items) < 2:
        return []
    rule = Rule.AT_MOST_ONE if task.name in _KEY else Rule.EXACTLY_ONE
    return [Constraint(rule, tuple((Row(first + place),) for place in range(len(items))), TRUE)]
