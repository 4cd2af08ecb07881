"""A linear program, solved by HiGHS; the only module that imports the solver.

Columns run from 0 to 1 or have no upper bound. HiGHS runs as a function: one thread, its own fixed seed,
no files, no output, and limits that count work, never seconds. So the same model gives the same solution
on every machine.
"""

from dataclasses import dataclass
from enum import StrEnum

import highspy

from service.search.rules.rule import Terms

INFINITY = float("inf")


class Proof(StrEnum):
    """The solver's proof about its solution."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"  # a solution, but a limit ended the search before the proof
    INFEASIBLE = "infeasible"  # the model has no solution
    NONE_FOUND = "none_found"  # a limit ended the search before it found a solution


@dataclass(frozen=True, slots=True)
class Solution:
    """The value of each column (none if the solver found no solution), and the solver's proof about it."""

    proof: Proof
    values: tuple[float, ...] = ()


class _Highs(highspy.Highs):
    """HiGHS without callbacks: this module needs none, and their set-up prints a banner."""

    def enableCallbacks(self) -> None:  # noqa: N802  # the library's name
        """Enable no callback."""


class LinearModel:
    """A linear program that can be solved again after each new column or row, starting from the last solution."""

    def __init__(self) -> None:
        self._highs = _Highs()  # type: ignore[no-untyped-call]  # the library's constructor has no annotations
        self._set(output_flag=False, threads=1)
        self._uppers: list[float] = []

    @property
    def columns(self) -> int:
        """The number of columns."""
        return len(self._uppers)

    def add_column(self, value: float = 0.0, *, upper: float = 1.0) -> int:
        """Add a column with this coefficient in the objective, which the solver maximises; return its number."""
        self._highs.addCol(-value, 0.0, upper, 0, [], [])
        self._uppers.append(upper)
        return self.columns - 1

    def add_row(self, terms: Terms, lower: float = -INFINITY, upper: float = INFINITY) -> None:
        """Demand lower <= sum of terms <= upper."""
        self._highs.addRow(lower, upper, len(terms), list(terms), list(terms.values()))

    def fix(self, column: int, value: float) -> None:
        """Fix the column at this value."""
        self._highs.changeColBounds(column, value, value)

    def free(self, column: int) -> None:
        """Undo `fix`: allow any value from 0 to the column's upper bound."""
        self._highs.changeColBounds(column, 0.0, self._uppers[column])

    def demand_whole_numbers(self, *, max_nodes: int, max_improvements: int) -> None:
        """Demand integers from now on; `solve` ends after `max_nodes` nodes or `max_improvements` better solutions."""
        for column in range(self.columns):
            self._highs.changeColIntegrality(column, highspy.HighsVarType.kInteger)
        self._set(mip_max_nodes=max_nodes, mip_max_improving_sols=max_improvements, mip_rel_gap=0.0)

    def solve(self) -> Solution:
        """Return the best solution that the solver finds within its limits."""
        self._highs.run()
        match self._highs.getModelStatus():
            case highspy.HighsModelStatus.kOptimal | highspy.HighsModelStatus.kModelEmpty:
                return Solution(Proof.OPTIMAL, self._values())
            case highspy.HighsModelStatus.kInfeasible:
                return Solution(Proof.INFEASIBLE)
            case _ if self._highs.getInfo().primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
                return Solution(Proof.FEASIBLE, self._values())
        return Solution(Proof.NONE_FOUND)

    def _values(self) -> tuple[float, ...]:
        return tuple(self._highs.getSolution().col_value)

    def _set(self, **options: float | bool) -> None:
        for name, value in options.items():
            self._highs.setOptionValue(name, value)
