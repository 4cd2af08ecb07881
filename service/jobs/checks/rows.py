"""The interface of a data set before it is stored: a source of rows to read repeatedly, and a log of its faults."""

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
    """One row as the client sent it; `line` is its first line, or its row number in formats without lines."""

    line: int
    fields: Mapping[str, Any]


MAX_COLUMNS = 1_000  # of a data set; the process that reads files counts them before it reads a row
MAX_REPORTED = 100  # faults that one answer names


class FaultLog:
    """Collects the faults of a data set (the first in full, the others as counts) and the assumptions in reading it."""

    def __init__(self, max_reported: int = MAX_REPORTED) -> None:
        self.arrow_schema: bytes | None = None  # the columns' types, if the file has them (KeptTypes of the intake)
        self.doubt_about_names: str | None = None  # why the header may be a row instead of names, and what to do
        self._assumptions: dict[str, None] = {}
        self._max_reported = max_reported
        self._reported: list[Fault] = []
        self._counts: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, message: str, *, line: int | None = None, field: str | None = None) -> None:
        """Add one fault."""
        self._counts[field] += 1
        if len(self._reported) < self._max_reported:
            self._reported.append(Fault(message, line, field))

    def assume(self, message: str) -> None:
        """Add an assumption, made in reading the data set, that its sender should know; ignores repetitions."""
        self._assumptions[message] = None

    @property
    def assumptions(self) -> tuple[str, ...]:
        """The assumptions made in reading the data set."""
        return tuple(self._assumptions)

    def add_all(self, faults: Sequence[Fault], counts: Mapping[str | None, int]) -> None:
        """Add the faults of another log: those listed in full, and the counts of all by field."""
        self._counts.update(counts)
        self._reported += faults[: max(0, self._max_reported - len(self._reported))]

    @property
    def reported(self) -> Sequence[Fault]:
        """The faults listed in full."""
        return self._reported

    @property
    def counts(self) -> Mapping[str | None, int]:
        """The counts of all faults by field."""
        return self._counts

    def replace(self, field: str, message: str, *fields: str) -> None:
        """Replace all faults of this field and of further `fields` by a single message at the head of the list."""
        replaced = {field, *fields}
        others = [fault for fault in self._reported if fault.field not in replaced]
        self._reported = [Fault(message, None, field), *others]
        self._counts = Counter({name: count for name, count in self._counts.items() if name not in replaced})
        self._counts[field] = 1

    def raise_any(self) -> None:
        """Raises InvalidDataset if there is any fault; its last entry gives the number of further faults."""
        if not self._counts:
            return
        more = len(self) - len(self._reported)
        faults = [*self._reported, Fault(f"and {more} more")] if more > 0 else self._reported
        count = "one fault" if len(self) == 1 else f"{len(self)} faults"
        raise InvalidDataset(f"the data set has {count}; nothing was stored", faults)


class RowSource(Protocol):
    """A data set from a client, whose rows can be read any number of times."""

    def rows(self, faults: FaultLog) -> Iterator[SourceRow]:
        """Every readable row, in order; adds the faults of the others to `faults`.

        Raises PayloadTooLarge and UnsupportedFormat.
        """

    def sha256(self) -> str:
        """A hash of the data set's bytes and of the format in which they are read."""


async def in_chunks(items: Iterator[Item], size: int) -> AsyncIterator[list[Item]]:
    """The items in lists of `size`; a thread iterates over them, so that the event loop stays free."""
    while chunk := await to_thread.run_sync(lambda: list(islice(items, size))):
        yield chunk
