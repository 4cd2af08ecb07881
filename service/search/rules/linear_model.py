"""A linear model over columns from 0 to 1, or without an upper end, solved by HiGHS; the one place that knows it.

HiGHS is called as a function: one thread, its own fixed seed, no files, no output, and limits
that count work, never seconds. The same model gives the same solution on every machine.
"""

from dataclasses import dataclass
from enum import StrEnum

import highspy

from service.search.rules.rule import Terms

INFINITY = float("inf")


class Proof(StrEnum):
    """What a solution is known to be."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"  # the limits came first
    INFEASIBLE = "infeasible"  # there is none
    NONE_FOUND = "none_found"  # the limits came first


@dataclass(frozen=True, slots=True)
class Solution:
    """The value of each column, where there is one."""

    proof: Proof
    values: tuple[float, ...] = ()


class _Highs(highspy.Highs):
    """HiGHS without its callbacks, which nobody here needs and whose set-up prints a banner."""

    def enableCallbacks(self) -> None:  # noqa: N802  # the library's name
        """Enable none."""


class LinearModel:
    """Grows by columns and rows and can be solved again after each; a solution starts from the last."""

    def __init__(self) -> None:
        self._highs = _Highs()  # type: ignore[no-untyped-call]  # the library's constructor has no annotations
        self._set(output_flag=False, threads=1)
        self._uppers: list[float] = []

    @property
    def columns(self) -> int:
        """How many columns there are."""
        return len(self._uppers)

    def add_column(self, value: float = 0.0, *, upper: float = 1.0) -> int:
        """A column of this value to the objective, which is made as large as possible; its number."""
        self._highs.addCol(-value, 0.0, upper, 0, [], [])
        self._uppers.append(upper)
        return self.columns - 1

    def add_row(self, terms: Terms, lower: float = -INFINITY, upper: float = INFINITY) -> None:
        """Demand lower <= sum of terms <= upper."""
        self._highs.addRow(lower, upper, len(terms), list(terms), list(terms.values()))

    def fix(self, column: int, value: float) -> None:
        """From now on the column has this value."""
        self._highs.changeColBounds(column, value, value)

    def free(self, column: int) -> None:
        """The column may have any value from 0 to its upper end again."""
        self._highs.changeColBounds(column, 0.0, self._uppers[column])

    def demand_whole_numbers(self, *, max_nodes: int, max_improvements: int) -> None:
        """From now on every column is a whole number; a search ends after so many nodes or better solutions."""
        for column in range(self.columns):
            self._highs.changeColIntegrality(column, highspy.HighsVarType.kInteger)
        self._set(mip_max_nodes=max_nodes, mip_max_improving_sols=max_improvements, mip_rel_gap=0.0)

    def solve(self) -> Solution:
        """The best values, as far as the limits let them be found."""
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
