"""What a data set looks like before it is stored: rows that can be read again and again, and their faults."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from anyio import to_thread

from service.errors import Fault, InvalidDataset

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row as it was sent; `line` is where it began: physical line, or row number where there are no lines."""

    line: int
    fields: Mapping[str, Any]


class FaultLog:
    """Collects what is wrong with a data set: the first faults in full, the others by number; and what was assumed."""

    def __init__(self, max_reported: int) -> None:
        self.arrow_schema: bytes | None = None  # the columns' types, where the file has them: intake/arrow_schema.py
        self.doubt_about_names: str | None = None  # why the columns' names may be none, and what to do
        self._assumptions: dict[str, None] = {}
        self._max_reported = max_reported
        self._reported: list[Fault] = []
        self._counts: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, message: str, *, line: int | None = None, field: str | None = None) -> None:
        """Take down one fault."""
        self._counts[field] += 1
        if len(self._reported) < self._max_reported:
            self._reported.append(Fault(message, line, field))

    def assume(self, message: str) -> None:
        """Take down, once, how the data set was read where the sender did not say so."""
        self._assumptions[message] = None

    @property
    def assumptions(self) -> tuple[str, ...]:
        """How the data set was read where the sender did not say so."""
        return tuple(self._assumptions)

    def add_all(self, faults: Sequence[Fault], counts: Mapping[str | None, int]) -> None:
        """Take down what another log has collected: faults told in full, and all of them as counted by field."""
        self._counts.update(counts)
        self._reported += faults[: max(0, self._max_reported - len(self._reported))]

    @property
    def reported(self) -> Sequence[Fault]:
        """The faults that are told in full."""
        return self._reported

    @property
    def counts(self) -> Mapping[str | None, int]:
        """All faults, counted by field."""
        return self._counts

    def replace(self, field: str, message: str, *fields: str) -> None:
        """Say once, ahead of everything else, what is wrong with this field, and further ones, in every row."""
        replaced = {field, *fields}
        others = [fault for fault in self._reported if fault.field not in replaced]
        self._reported = [Fault(message, None, field), *others]
        self._counts = Counter({name: count for name, count in self._counts.items() if name not in replaced})
        self._counts[field] = 1

    def raise_any(self) -> None:
        """Raises InvalidDataset where there was a fault; the last one listed says how many more there are."""
        if not self._counts:
            return
        more = len(self) - len(self._reported)
        faults = [*self._reported, Fault(f"and {more} more")] if more > 0 else self._reported
        count = "one fault" if len(self) == 1 else f"{len(self)} faults"
        raise InvalidDataset(f"the data set has {count}; nothing was stored", faults)


class RowSource(Protocol):
    """A data set that was sent and can be read any number of times."""

    def rows(self, faults: FaultLog) -> Iterator[SourceRow]:
        """Every row that can be read, in order; the others go to `faults`.

        Raises PayloadTooLarge and UnsupportedFormat.
        """

    def sha256(self) -> str:
        """Names the bytes that were sent, and how they are read."""


async def in_chunks(items: Iterator[Item], size: int) -> AsyncIterator[list[Item]]:
    """The items in lists of `size`, made in a thread so that the event loop stays free."""
    while chunk := await to_thread.run_sync(lambda: list(islice(items, size))):
        yield chunk
