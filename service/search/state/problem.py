"""What a search is about: rows as text, the label set, the rules, the demonstrations that stand before all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from random import Random

from service.identifiers import Label, Row
from service.search.predictions.panel import Panel
from service.search.predictions.prompt_tree import Query
from service.search.rules.consistency import Constraint, Constraints, Labels


class Start(StrEnum):
    """Which labels the first trainings of strategy `scalable` learn."""

    ANCHOR = "anchor"  # a part of the rows is searched in context, the others are labelled by what that has found
    RANDOM = "random"


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Numbers of the search, by the names of arXiv 2506.10139 where it has them."""

    seed: int = 0
    alpha: float = 50.0  # weight of mutual predictability, eq. 2
    mean: bool = True  # P(D) as a mean over rows; False: the sum of eq. 1
    seed_labels: int = 8  # K, Algorithm 1 line 1
    initial_temperature: float = 10.0  # T_0
    final_temperature: float = 0.01  # T_min
    cooling: float = 0.99  # beta
    draws_per_row: float = 5.0
    repair_rounds: int = 10  # M, Algorithm 2
    folds: int = 4  # G
    restarts: int = 4
    initial_rows: int = 24
    sweeps: int = 5
    rounds: int = 4  # of a bootstrap
    consistency: bool = True  # whether a bootstrap heeds the rules
    exact_scores: bool = True  # leave-one-out scores at the end instead of those of the last sweep
    start: Start = Start.ANCHOR
    anchor_rows: int = 128  # of the first part, which is searched in context
    batch_rows: int = 256
    epochs: int = 3  # of every training
    learning_rate: float | None = None  # None: the trainer's own


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One shard to be labelled. There is no gold here, nor any way to it.

    `prefix` is the text of demonstrations that stand before every prompt (the anchor's labelled
    rows), `other_prefixes` has the same ones in other orders; `budget_tokens` and
    `max_demonstrations` bound the demonstrations behind it, whose lengths
    `demonstration_tokens` gives.

    `panel` labels the rows of a later shard; `panel_prefixes` has the text of each member's demonstrations.
    `known` holds the labels that the user is sure of: no search changes them. `shares` bounds
    what share of this problem's rows, known ones included, has a label; labels that it does
    not name may be as frequent as they are.
    """

    texts: Mapping[Row, str]
    labels: Sequence[str]
    separator: str = "\n\n"
    constraint_list: Sequence[Constraint] = ()
    prefix: str = ""
    other_prefixes: Sequence[str] = ()
    demonstration_tokens: Mapping[Row, int] = field(default_factory=dict)
    budget_tokens: int | None = None
    max_demonstrations: int | None = None
    parameters: Parameters = field(default_factory=Parameters)
    known: Mapping[Row, Label] = field(default_factory=dict)
    panel: Panel | None = None
    panel_prefixes: Sequence[str] = ()
    shares: Mapping[Label, tuple[float, float]] = field(default_factory=dict)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, in the user's order."""
        return tuple(self.texts)

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return len(self.labels)

    @property
    def label_range(self) -> tuple[Label, ...]:
        """Every label."""
        return tuple(map(Label, range(self.classes)))

    @cached_property
    def constraints(self) -> Constraints:
        """The rules and the groups they tie."""
        return Constraints(self.rows, self.constraint_list)

    @property
    def groups(self) -> tuple[tuple[Row, ...], ...]:
        """Rows that rules tie together; a row without rules is a group of its own."""
        return self.constraints.groups

    @cached_property
    def order(self) -> tuple[Row, ...]:
        """The order of rows in prompts: random, related rows side by side; the seed alone decides it.

        Groups with known rows stand before all others, and in each of them the known rows before its other rows.
        """
        groups = self.random("prompt order").sample(self.groups, len(self.groups))
        groups.sort(key=self.known.keys().isdisjoint)
        return tuple(row for group in groups for row in sorted(group, key=lambda row: row not in self.known))

    def in_order(self, labels: Labels) -> dict[Row, Label]:
        """The labelling with its rows in the order of prompts."""
        return {row: labels[row] for row in self.order if row in labels}

    def demonstration(self, row: Row, label: Label) -> str:
        """The row with its label, as it stands in a prompt."""
        return f"{self.texts[row]} {self.labels[label]}{self.separator}"

    def demonstrations(self, rows: Iterable[Row], labels: Labels) -> str:
        """Those of the rows that have a label, in this order."""
        return "".join(self.demonstration(row, labels[row]) for row in rows if row in labels)

    def query(self, row: Row) -> Query:
        """The row as a question."""
        return Query(row, self.texts[row])

    def random(self, *key: object) -> Random:
        """Randomness derived from the seed and a key: the same on every machine and after every restart."""
        return Random(":".join(map(str, (self.parameters.seed, *key))))

    def tokens(self, rows: Iterable[Row]) -> int:
        """The length of these rows as demonstrations, in tokens."""
        return sum(self.demonstration_tokens.get(row, 0) for row in rows)
