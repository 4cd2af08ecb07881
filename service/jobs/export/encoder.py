"""What makes bytes of a result's rows, whatever the format."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

Rows = Sequence[Mapping[str, Any]]


class Encoder(ABC):
    """Encodes one download: the user's `columns` in their order, then those that were `found`.

    Methods are called one after the other, each in a thread: `look_at` for all rows where `reads_twice` says so, then
    `header`, `encode` for all rows again, and `footer`. With `formula_safe`, text that a spreadsheet would run as a
    formula is changed so that it does not. `arrow_schema` has the types of a Parquet data set.
    """

    reads_twice: ClassVar[bool] = False

    def __init__(
        self,
        columns: Sequence[str],
        found: Sequence[str],
        *,
        formula_safe: bool = False,
        arrow_schema: bytes | None = None,
    ) -> None:
        del arrow_schema  # most formats have no types
        self.columns = (*columns, *found)
        self.formula_safe = formula_safe

    def look_at(self, rows: Rows) -> None:
        """Take in rows that are encoded later."""
        del rows  # most formats have no use for that

    def header(self) -> bytes:
        """What stands before all rows."""
        return b""

    @abstractmethod
    def encode(self, rows: Rows) -> bytes:
        """The bytes that have become final with these rows."""

    def footer(self) -> bytes:
        """What stands behind all rows."""
        return b""
