"""The best labelling of related rows: fewest conflicts first, then the largest sum of values, by a linear model.

A *cutting-plane* search: most of what the rules forbid never comes up, so a clause is put
into the model only once a solution violates it, and the model is solved again. If no labelling
keeps every rule, a second model lets clauses be violated at a price no sum of values outweighs.

Labels may also be counted over all rows: then rules go first, bounds of the counts next, values last.
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

Values = Mapping[Row, Sequence[float]]  # of every label
Counts = Mapping[Label, tuple[int, int]]  # the fewest and the most rows with a label

NO_COUNTS: Counts = MappingProxyType({})

MAX_CLAUSES = 500  # the most violated ones that a round adds to the model
MAX_ROUNDS = 100
MAX_NODES = 2_000  # of a branch-and-bound tree
LARGE_COLUMNS = 400  # in a larger model fractions are rounded by diving
FEW_FRACTIONS = 64  # unless labels are counted and no more are left, which branching decides quickly
MAX_LARGE_ROUNDS = 5
DIVE_PARTS = 4  # the part of the undecided columns that is decided at a time
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Optimum:
    """The best labelling found, and whether it is known that there is none better."""

    labels: dict[Row, Label]
    proven: bool


def best_labelling(
    constraints: Sequence[Constraint], values: Values, fixed: Labels, start: Labels, counts: Counts = NO_COUNTS
) -> Optimum:
    """Label the rows that have values, beside the fixed labels; rows with neither are left out of account.

    `start` is a labelling of the same rows, or nothing: where the limits keep the solver from a
    proof, the result is at least as good. `counts` bounds how many of the rows that have values
    get a label. The limits count work, so that the result does not depend on the machine.
    """
    known = dict(start) or {row: _likeliest(row_values) for row, row_values in values.items()}
    strict = _Model(constraints, values, fixed, counts)
    strict.demand_rules()
    if (found := strict.strict_optimum(known)) is not None:
        return found
    price = _price(values) * (1 + (2 * len(values) if counts else 0))  # more than a label on every row that misses
    lenient = _Model(constraints, values, fixed, counts, price=price)
    return lenient.by_branching(known, brief=lenient.is_large) or Optimum(known, proven=False)


def missed(counts: Counts, labels: Iterable[Label]) -> int:
    """By how many rows the labels lie outside the bounds of their counts, all labels together."""
    counted = Counter(labels)
    return sum(max(0, least - counted[label], counted[label] - most) for label, (least, most) in counts.items())


def _likeliest(values: Sequence[float]) -> Label:
    return Label(max(range(len(values)), key=values.__getitem__))


def _price(values: Values) -> float:
    """More than any two labellings differ in value."""
    return 1.0 + sum(max(row) - min(row) for row in values.values())


class _Model:
    """Labels as columns of a linear model, with the clauses that were violated so far."""

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
        self._columns: dict[Row, dict[Label, int]] = {}  # of all labels but the row's reference
        self._reference: dict[Row, Label] = {}
        self._clauses: set[Clause] = set()
        self._unavoidable: set[Conflict] = set()  # conflicts that the fixed labels have among themselves
        self._excuses: dict[Conflict, int] = {}  # columns that are 1 where a conflict is put up with
        for row, labels in _watched_labels(constraints, values).items():
            self._add_row(row, labels.union(counts))
        self._bound_counts()

    def _add_row(self, row: Row, watched: set[Label]) -> None:
        """A column for each label a rule watches; the best of the other labels stands for all of these."""
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
        """Let counts miss their bounds at a price that no sum of values outweighs: so there always is a solution."""
        for label, (least, most) in self._counts.items():
            literals = [(row, label, True) for row in self._values]
            lacking, beyond = (self._model.add_column(-_price(self._values), upper=INFINITY) for _ in range(2))
            self.demand(literals, {lacking: 1.0, beyond: -1.0}, lower=float(least), upper=float(most))

    def demand_rules(self) -> None:
        """Put in what each rule says in a few rows; the rest comes clause by clause."""
        for constraint in self._constraints:
            constraint.rule.kind.demand(constraint, self)

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return len(next(iter(self._values.values())))

    def knows(self, row: Row) -> bool:
        """Whether the row has a label or gets one."""
        return row in self._values or row in self._fixed

    def add_column(self) -> int:
        """A column of no value."""
        return self._model.add_column()

    def demand(
        self,
        literals: Iterable[Literal],
        extra: Terms | None = None,
        *,
        lower: float | None = None,
        upper: float | None = None,
    ) -> None:
        """Bound how many of the literals are true, plus extra columns."""
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
        """A literal's truth as columns and a constant."""
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
        """Whether a search by branching must be brief."""
        return self._model.columns > LARGE_COLUMNS

    def strict_optimum(self, start: Labels) -> Optimum | None:
        """The best labelling that keeps every rule; None where there is none or none was found."""
        values = self._relaxed()
        if values is None:
            return None
        fractions = _fractions(values)
        if not fractions:  # so it is for most data
            return Optimum(self._labels(values), proven=True)
        if not self.is_large or (self._counts and len(fractions) <= FEW_FRACTIONS):
            return self.by_branching(start, brief=False)
        if (dived := self._dived(values)) is None:
            return None
        return Optimum(min(self._labels(dived), dict(start), key=self._badness), proven=False)

    def _relaxed(self) -> tuple[float, ...] | None:
        """The best solution in fractions; None where there is none, or the limits came first."""
        for _ in range(MAX_ROUNDS):
            solution = self._model.solve()
            if solution.proof is not Proof.OPTIMAL:
                return None
            if not self._add(self._violated_by(solution.values)):
                return None if self._is_hopeless else solution.values
        return None

    @property
    def _is_hopeless(self) -> bool:
        """Whether every rule must be kept and the fixed labels break one."""
        return self._price is None and bool(self._unavoidable)

    def _dived(self, values: tuple[float, ...]) -> tuple[float, ...] | None:
        """Fix the fractions nearest to whole numbers there, again and again, until none is left."""
        while undecided := _fractions(values):
            for batch in (undecided[: 1 + len(undecided) // DIVE_PARTS], undecided[:1]):
                for column in batch:
                    self._model.fix(column, round(values[column]))
                if (deeper := self._relaxed()) is not None:
                    break
                for column in batch:
                    self._model.free(column)
            else:
                return None
            values = deeper
        return values

    def by_branching(self, start: Labels, *, brief: bool) -> Optimum | None:
        """The best labelling by branch and bound; None where it is clear that none keeps the rules.

        A brief search ends with the first better labelling.
        """
        self._model.demand_whole_numbers(max_nodes=MAX_NODES, max_improvements=1 if brief else MAX_NODES)
        met = [dict(start)]
        for _ in range(MAX_LARGE_ROUNDS if brief else MAX_ROUNDS):
            solution = self._model.solve()
            if solution.proof is Proof.INFEASIBLE:
                return None
            if solution.proof is Proof.NONE_FOUND:
                break
            met.append(self._labels(solution.values))
            if not self._add(self._broken_by(met[-1])):
                if self._is_hopeless:
                    return None
                if solution.proof is Proof.OPTIMAL:
                    return Optimum(met[-1], proven=True)
                break
        return Optimum(min(met, key=self._badness), proven=False)

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
        """Put the most violated clauses into the model; whether there was any that is new."""
        new = [(excess, broken) for excess, broken in violated if broken[1] not in self._clauses]
        new.sort(key=lambda found: (-found[0], found[1]))
        added = self._excuse({conflict for _, (conflict, clause) in new if self._is_decided(clause)})
        for _, (conflict, clause) in new[:MAX_CLAUSES]:
            if self._is_decided(clause):
                continue
            self._clauses.add(clause)
            self.demand(clause, self._lenience(conflict), upper=len(clause) - 1.0)
            added = True
        return added

    def _excuse(self, unavoidable: set[Conflict]) -> bool:
        """Put up with conflicts that nothing can be done about; whether any was to be avoided until now."""
        known = [conflict for conflict in unavoidable - self._unavoidable if conflict in self._excuses]
        self._unavoidable.update(unavoidable)
        for conflict in known:
            self._model.fix(self._excuses[conflict], 1)
        return bool(known)

    def _is_decided(self, clause: Clause) -> bool:
        """Whether fixed labels alone break or keep a clause: nothing can be done about it."""
        return all(row in self._fixed for row, _, _ in clause)

    def _lenience(self, conflict: Conflict) -> Terms:
        if self._price is None:
            return {}
        if conflict not in self._excuses:
            price = 0.0 if conflict in self._unavoidable else self._price
            self._excuses[conflict] = self._model.add_column(-price)
        return {self._excuses[conflict]: -1.0}


def _fractions(values: Sequence[float]) -> list[int]:
    """The columns that are neither 0 nor 1, those nearest to either first."""
    distance = {column: abs(value - round(value)) for column, value in enumerate(values)}
    return sorted((column for column, away in distance.items() if away > TOLERANCE), key=lambda c: (distance[c], c))


def _watched_labels(constraints: Sequence[Constraint], values: Values) -> dict[Row, set[Label]]:
    """The labels of each row that a rule tells from the others."""
    watched: dict[Row, set[Label]] = {row: set() for row in values}
    for constraint in constraints:
        for row in constraint.rows:
            if row in watched:
                watched[row].update(constraint.rule.kind.watched(constraint, len(values[row])))
    return watched
