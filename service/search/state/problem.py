"""The input of a search: rows as text, the label set, the rules, and the demonstrations in front of every prompt."""

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

    ANCHOR = "anchor"  # those of a first part of the rows, which a search in context labels
    RANDOM = "random"


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The parameters of the search; comments give their names in arXiv 2506.10139."""

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
    consistency: bool = True  # whether a bootstrap keeps the rules
    exact_scores: bool = True  # leave-one-out scores at the end; False: the scores of the last sweep
    start: Start = Start.ANCHOR
    anchor_rows: int = 128  # size of the first part, which the search labels in context
    batch_rows: int = 256
    epochs: int = 3  # of every training
    learning_rate: float | None = None  # None: the trainer's own


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One shard to label. It has no gold labels and no access to them.

    `prefix` is the text of the demonstrations in front of every prompt (the anchor's labelled
    rows); `other_prefixes` has the same demonstrations in other orders. `budget_tokens` and
    `max_demonstrations` bound the demonstrations that the search adds behind it, whose lengths
    are `demonstration_tokens`.

    `panel` labels the rows of a later shard; `panel_prefixes` has the text of each member's demonstrations.
    `known` has the labels that the user is sure of: no search changes them. `shares` bounds, by
    label, its share of this problem's rows, known ones included; a label that it does not name
    has no bounds.
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
        """The number of labels."""
        return len(self.labels)

    @property
    def label_range(self) -> tuple[Label, ...]:
        """Every label."""
        return tuple(map(Label, range(self.classes)))

    @cached_property
    def constraints(self) -> Constraints:
        """The rules, and the groups of rows that they tie together."""
        return Constraints(self.rows, self.constraint_list)

    @property
    def groups(self) -> tuple[tuple[Row, ...], ...]:
        """Rows that rules tie together; a row without rules is a group of its own."""
        return self.constraints.groups

    @cached_property
    def order(self) -> tuple[Row, ...]:
        """The order of rows in prompts: random by the seed alone, with related rows side by side.

        Groups with known rows come first, and within them the known rows come first.
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
        """The text of all these rows that have a label, as demonstrations in this order."""
        return "".join(self.demonstration(row, labels[row]) for row in rows if row in labels)

    def query(self, row: Row) -> Query:
        """The row as a query: its text, for which the language model predicts the label."""
        return Query(row, self.texts[row])

    def random(self, *key: object) -> Random:
        """A random generator seeded by the seed and a key: the same on every machine and after every restart."""
        return Random(":".join(map(str, (self.parameters.seed, *key))))

    def tokens(self, rows: Iterable[Row]) -> int:
        """The total length of these rows as demonstrations, in tokens."""
        return sum(self.demonstration_tokens.get(row, 0) for row in rows)
