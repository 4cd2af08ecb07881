"""What a search is about: rows as text, the label set, the rules, the demonstrations that stand before all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from service.identifiers import Label, Row
from service.search.consistency import Constraint, Constraints, Labels
from service.search.prompt_tree import Query


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
    restarts: int = 3
    initial_rows: int = 24


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One shard to be labelled. There is no gold here, nor any way to it.

    `prefix` is the text of demonstrations that stand before every prompt (the anchor's
    labelled rows); `budget_tokens` bounds the demonstrations behind it, whose lengths
    `demonstration_tokens` gives.
    """

    texts: Mapping[Row, str]
    labels: Sequence[str]
    separator: str = "\n\n"
    constraint_list: Sequence[Constraint] = ()
    prefix: str = ""
    demonstration_tokens: Mapping[Row, int] = field(default_factory=dict)
    budget_tokens: int | None = None
    parameters: Parameters = field(default_factory=Parameters)

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

    def fitting(self, rows: Sequence[Row], rng: Random) -> tuple[Row, ...]:
        """As many of the rows as the budget holds, whole groups in random order; all of them where they fit."""
        if self.budget_tokens is None or self._tokens(rows) <= self.budget_tokens:
            return tuple(rows)
        wanted, left, chosen = set(rows), self.budget_tokens, set[Row]()
        for group in rng.sample(self.groups, len(self.groups)):
            members = [row for row in group if row in wanted]
            if (tokens := self._tokens(members)) <= left:
                chosen.update(members)
                left -= tokens
        return tuple(row for row in rows if row in chosen)

    def _tokens(self, rows: Iterable[Row]) -> int:
        return sum(self.demonstration_tokens.get(row, 0) for row in rows)
