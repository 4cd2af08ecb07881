"""Finds the best labelling of related rows: fewest conflicts first, then the largest sum of values.

A *cutting-plane* search over a linear model: no solution ever comes near most of the clauses, so the
search adds a clause only once a solution violates it, and solves the model again. If no labelling keeps
every rule, a second model allows violated clauses at a price that no sum of values outweighs.

The caller may also bound how many rows get each label. Rules then come first, these bounds second, values last.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from service.identifiers import Label, Row
from service.search.rules.consistency import Constraint
from service.search.rules.linear_model import INFINITY, LinearModel, Proof
from service.search.rules.rule import Broken, Clause, Conflict, Labels, Literal, Terms

Values = Mapping[Row, Sequence[float]]  # one value for each label, the larger the better
Counts = Mapping[Label, tuple[int, int]]  # the fewest and the most rows with a label

NO_COUNTS: Counts = MappingProxyType({})

MAX_CLAUSES = 500  # a round adds at most this many violated clauses, the most violated first
MAX_ROUNDS = 100
MAX_NODES = 2_000  # of a branch-and-bound tree
LARGE_COLUMNS = 400  # a model with more columns rounds its fractions by diving instead of branching
FEW_FRACTIONS = 64  # with bounded counts and no more fractions than this, branching is quick in large models, too
MAX_LARGE_ROUNDS = 5
DIVE_PARTS = 4  # each dive fixes one part in four of the undecided columns
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best labelling found, and whether the solver proved that no other is better."""

    labels: dict[Row, Label]
    proven: bool


def best_labelling(
    constraints: Sequence[Constraint], values: Values, fixed: Labels, start: Labels, counts: Counts = NO_COUNTS
) -> Optimum:
    """Label the rows that have values, given the fixed labels; rows with neither are ignored.

    `start` is a labelling of the same rows, or empty. If a limit ends the search before the solver has a
    proof, the result is at least as good as `start`. `counts` bounds how many of the rows with values
    get each label. The limits count work, so the result does not depend on the machine.
    """
    known = dict(start) or {row: _likeliest(row_values) for row, row_values in values.items()}
    strict = _Model(constraints, values, fixed, counts)
    strict.demand_rules()
    if (found := strict.strict_optimum(known)) is not None:
        return found
    price = _price(values) * (1 + (2 * len(values) if counts else 0))  # more than all rows outside the counts cost
    lenient = _Model(constraints, values, fixed, counts, price=price)
    return lenient.by_branching(known, brief=lenient.is_large) or Optimum(known, proven=False)


def missed(counts: Counts, labels: Iterable[Label]) -> int:
    """By how many rows the counts of the labels lie outside their bounds, summed over the labels."""
    counted = Counter(labels)
    return sum(max(0, least - counted[label], counted[label] - most) for label, (least, most) in counts.items())


def _likeliest(values: Sequence[float]) -> Label:
    return Label(max(range(len(values)), key=values.__getitem__))


def _price(values: Values) -> float:
    """A number larger than the difference in value between any two labellings."""
    return 1.0 + sum(max(row) - min(row) for row in values.values())


class _Model:
    """The linear model of a labelling problem: labels are columns, violated clauses are rows added round by round."""

    def __init__(
        self,
        constraints: Sequence[Constraint],
        values: Values,
        fixed: Labels,
        counts: Counts,
        price: float | None = None,
    ) -> None:
        self._constraints, self._values, self._fixed, self._price = constraints, values, fixed, price
        self._counts = counts
        self._model = LinearModel()
        self._columns: dict[Row, dict[Label, int]] = {}  # for every watched label but the row's reference
        self._reference: dict[Row, Label] = {}
        self._clauses: set[Clause] = set()
        self._unavoidable: set[Conflict] = set()  # conflicts that the fixed labels have among themselves
        self._slacks: dict[Conflict, int] = {}  # slack columns: 1 where the model accepts the conflict
        for row, labels in _watched_labels(constraints, values).items():
            self._add_row(row, labels.union(counts))
        self._bound_counts()

    def _add_row(self, row: Row, watched: set[Label]) -> None:
        """Add a column for each watched label; of the other labels only the best, the reference, can be chosen."""
        values = self._values[row]
        others = [Label(label) for label in range(len(values)) if label not in watched]
        reference = max(others or watched, key=lambda label: (values[label], -label))
        self._reference[row] = reference
        self._columns[row] = {
            label: self._model.add_column(values[label] - values[reference]) for label in sorted(watched - {reference})
        }
        if len(self._columns[row]) > 1:
            self._model.add_row(dict.fromkeys(self._columns[row].values(), 1.0), upper=1.0)

    def _bound_counts(self) -> None:
        """Bound the counts by slack columns whose price no sum of values outweighs, so a solution always exists."""
        for label, (least, most) in self._counts.items():
            literals = [(row, label, True) for row in self._values]
            lacking, beyond = (self._model.add_column(-_price(self._values), upper=INFINITY) for _ in range(2))
            self.demand(literals, {lacking: 1.0, beyond: -1.0}, lower=float(least), upper=float(most))

    def demand_rules(self) -> None:
        """Add the few rows by which each rule describes itself; violated clauses follow one by one."""
        for constraint in self._constraints:
            constraint.rule.kind.demand(constraint, self)

    @property
    def classes(self) -> int:
        """The number of labels."""
        return len(next(iter(self._values.values())))

    def knows(self, row: Row) -> bool:
        """Whether the row has a fixed label or gets one from this model."""
        return row in self._values or row in self._fixed

    def add_column(self) -> int:
        """Add a column that counts nothing in the objective."""
        return self._model.add_column()

    def demand(
        self,
        literals: Iterable[Literal],
        extra: Terms | None = None,
        *,
        lower: float | None = None,
        upper: float | None = None,
    ) -> None:
        """Bound the number of true literals plus the sum of the extra columns."""
        terms: dict[int, float] = dict(extra or {})
        constant = 0.0
        for literal in literals:
            more, truth = self._terms(literal)
            constant += truth
            for column, coefficient in more.items():
                terms[column] = terms.get(column, 0.0) + coefficient
        bounds = {"lower": lower, "upper": upper}
        self._model.add_row(terms, **{name: bound - constant for name, bound in bounds.items() if bound is not None})

    def _terms(self, literal: Literal) -> tuple[Terms, float]:
        """The truth of a literal (0 to 1) as a linear expression: columns and a constant."""
        row, label, wanted = literal
        if row in self._fixed:
            return {}, float((self._fixed[row] == label) == wanted)
        columns = self._columns[row]
        if label in columns:
            terms, constant = {columns[label]: 1.0}, 0.0
        else:
            terms, constant = dict.fromkeys(columns.values(), -1.0), 1.0
        return (terms, constant) if wanted else ({column: -c for column, c in terms.items()}, 1.0 - constant)

    @property
    def is_large(self) -> bool:
        """Whether branch and bound to the end would take too long."""
        return self._model.columns > LARGE_COLUMNS

    def strict_optimum(self, start: Labels) -> Optimum | None:
        """The best labelling that keeps every rule; None if there is none, or the limits ended the search first."""
        values = self._solve_relaxed()
        if values is None:
            return None
        fractions = _fractions(values)
        if not fractions:  # the usual case
            return Optimum(self._labels(values), proven=True)
        if not self.is_large or (self._counts and len(fractions) <= FEW_FRACTIONS):
            return self.by_branching(start, brief=False)
        if (rounded := self._dive(values)) is None:
            return None
        return Optimum(min(self._labels(rounded), dict(start), key=self._badness), proven=False)

    def _solve_relaxed(self) -> tuple[float, ...] | None:
        """The best solution of the relaxed model; None if there is none, or the limits ended the search first."""
        for _ in range(MAX_ROUNDS):
            solution = self._model.solve()
            if solution.proof is not Proof.OPTIMAL:
                return None
            if not self._add(self._violated_by(solution.values)):
                return None if self._is_infeasible else solution.values
        return None

    @property
    def _is_infeasible(self) -> bool:
        """Whether this model allows no broken rule, but the fixed labels already break one."""
        return self._price is None and bool(self._unavoidable)

    def _dive(self, values: tuple[float, ...]) -> tuple[float, ...] | None:
        """Round by diving: fix the fractions nearest to 0 or 1, solve again, until no fraction is left."""
        while undecided := _fractions(values):
            for batch in (undecided[: 1 + len(undecided) // DIVE_PARTS], undecided[:1]):
                for column in batch:
                    self._model.fix(column, round(values[column]))
                if (deeper := self._solve_relaxed()) is not None:
                    break
                for column in batch:
                    self._model.free(column)
            else:
                return None
            values = deeper
        return values

    def by_branching(self, start: Labels, *, brief: bool) -> Optimum | None:
        """The best labelling by branch and bound; None if the solver proves that none keeps the rules.

        A brief search ends at the first labelling that is better than the last.
        """
        self._model.demand_whole_numbers(max_nodes=MAX_NODES, max_improvements=1 if brief else MAX_NODES)
        found_labels = [dict(start)]
        for _ in range(MAX_LARGE_ROUNDS if brief else MAX_ROUNDS):
            solution = self._model.solve()
            if solution.proof is Proof.INFEASIBLE:
                return None
            if solution.proof is Proof.NONE_FOUND:
                break
            found_labels.append(self._labels(solution.values))
            if not self._add(self._broken_by(found_labels[-1])):
                if self._is_infeasible:
                    return None
                if solution.proof is Proof.OPTIMAL:
                    return Optimum(found_labels[-1], proven=True)
                break
        return Optimum(min(found_labels, key=self._badness), proven=False)

    def _labels(self, values: Sequence[float]) -> dict[Row, Label]:
        labels = {}
        for row, columns in self._columns.items():
            weights = {label: values[column] for label, column in columns.items()}
            weights[self._reference[row]] = 1.0 - sum(weights.values())
            labels[row] = max(weights, key=weights.__getitem__)
        return labels

    def _badness(self, labels: Labels) -> tuple[int, int, float]:
        conflicts = {conflict for _, (conflict, _) in self._broken_by(labels)}
        total = sum(self._values[row][label] for row, label in labels.items())
        return len(conflicts), missed(self._counts, labels.values()), -total

    def _broken_by(self, labels: Labels) -> Iterator[tuple[float, Broken]]:
        everything = {**self._fixed, **labels}
        return ((1.0, broken) for constraint in self._constraints for broken in constraint.broken(everything))

    def _violated_by(self, values: Sequence[float]) -> Iterator[tuple[float, Broken]]:
        truth = partial(self._truth, values)
        for constraint in self._constraints:
            for excess, clause in constraint.rule.kind.violated(constraint, self.knows, truth):
                yield excess, ((), clause)

    def _truth(self, values: Sequence[float], row: Row, label: Label) -> float:
        terms, constant = self._terms((row, label, True))
        return constant + sum(coefficient * values[column] for column, coefficient in terms.items())

    def _add(self, violated: Iterable[tuple[float, Broken]]) -> bool:
        """Add the most violated clauses to the model; return whether that changed the model."""
        new = [(excess, broken) for excess, broken in violated if broken[1] not in self._clauses]
        new.sort(key=lambda found: (-found[0], found[1]))
        added = self._accept_unavoidable({conflict for _, (conflict, clause) in new if self._is_decided(clause)})
        for _, (conflict, clause) in new[:MAX_CLAUSES]:
            if self._is_decided(clause):
                continue
            self._clauses.add(clause)
            self.demand(clause, self._slack_terms(conflict), upper=len(clause) - 1.0)
            added = True
        return added

    def _accept_unavoidable(self, unavoidable: set[Conflict]) -> bool:
        """Accept unavoidable conflicts at no price; return whether the model has tried to avoid any of them."""
        known = [conflict for conflict in unavoidable - self._unavoidable if conflict in self._slacks]
        self._unavoidable.update(unavoidable)
        for conflict in known:
            self._model.fix(self._slacks[conflict], 1)
        return bool(known)

    def _is_decided(self, clause: Clause) -> bool:
        """Whether all rows of the clause have fixed labels, so that no labelling can change its truth."""
        return all(row in self._fixed for row, _, _ in clause)

    def _slack_terms(self, conflict: Conflict) -> Terms:
        if self._price is None:
            return {}
        if conflict not in self._slacks:
            price = 0.0 if conflict in self._unavoidable else self._price
            self._slacks[conflict] = self._model.add_column(-price)
        return {self._slacks[conflict]: -1.0}


def _fractions(values: Sequence[float]) -> list[int]:
    """The columns whose value is neither 0 nor 1, those nearest to 0 or 1 first."""
    distance = {column: abs(value - round(value)) for column, value in enumerate(values)}
    return sorted((column for column, away in distance.items() if away > TOLERANCE), key=lambda c: (distance[c], c))


def _watched_labels(constraints: Sequence[Constraint], values: Values) -> dict[Row, set[Label]]:
    """For each row, the labels that some rule distinguishes from the others."""
    watched: dict[Row, set[Label]] = {row: set() for row in values}
    for constraint in constraints:
        for row in constraint.rows:
            if row in watched:
                watched[row].update(constraint.rule.kind.watched(constraint, len(values[row])))
    return watched
