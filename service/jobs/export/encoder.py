"""The interface of an encoder, which converts a result's rows to one download format."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

Rows = Sequence[Mapping[str, Any]]


class Encoder(ABC):
    """Encodes one download: the user's `columns` in their order, then the result's columns `found`.

    The export calls one method after the other, each in a thread: if `reads_twice`, first `look_at` for all rows; then
    `header`, `encode` for all rows, and `footer`. `formula_safe` changes text that a spreadsheet would run as a
    formula. `arrow_schema` has the types of a Parquet data set.
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
        """Inspect rows in advance, which `encode` gets again later."""
        del rows  # most formats do not need that

    def header(self) -> bytes:
        """The bytes in front of all rows."""
        return b""

    @abstractmethod
    def encode(self, rows: Rows) -> bytes:
        """The bytes of these rows."""

    def footer(self) -> bytes:
        """The bytes behind all rows."""
        return b""
