"""The interface of a data set before it is stored: a source of rows to read repeatedly, and a log of its faults."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from anyio import to_thread

from service.errors import Fault, InvalidDataset
from service.values import counted

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row as the client sent it; `line` is its first line, or its row number in formats without lines."""

    line: int
    fields: Mapping[str, Any]


MAX_COLUMNS = 1_000  # of a data set; the process that reads files counts them before it reads a row
MAX_REPORTED = 100  # faults that one answer names
MAX_ALIKE = 3  # faults of one cause that are listed one by one; of more, one is listed with the others' lines


@dataclass(slots=True)
class Alike:
    """Faults of one cause in one field: the first of them in full, and the number of all."""

    cause: str
    first: list[Fault]  # at most MAX_ALIKE
    count: int = 0

    def add(self, fault: Fault) -> None:
        """Count one more fault."""
        self.count += 1
        if len(self.first) < MAX_ALIKE:
            self.first.append(fault)

    def listed(self) -> Iterator[tuple[Fault, int]]:
        """The faults to list, each with the number of faults that it stands for."""
        if self.count <= MAX_ALIKE:
            yield from ((fault, 1) for fault in self.first)
            return
        fault = self.first[0]
        lines = ", ".join(str(other.line) for other in self.first if other.line is not None)
        more = f" on {self.count} lines: {lines} and {self.count - MAX_ALIKE} more" if lines else f" {self.count} times"
        yield Fault(f"{fault.message}; likewise{more}", fault.line, fault.field), self.count


class FaultLog:
    """Collects the faults of a data set (the first in full, the others as counts) and the assumptions in reading it.

    A cause that many rows share, such as an empty column, is one fault in the list, with the first lines.
    """

    def __init__(self, max_reported: int = MAX_REPORTED) -> None:
        self.arrow_schema: bytes | None = None  # the columns' types, if the file has them (KeptTypes of the intake)
        self.doubt_about_names: str | None = None  # why the header may be a row instead of names, and what to do
        self._assumptions: dict[str, None] = {}
        self._max_reported = max_reported
        self._alike: dict[tuple[str | None, str], Alike] = {}
        self._counts: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, message: str, *, line: int | None = None, field: str | None = None, cause: str | None = None) -> None:
        """Add one fault; `cause` is equal for faults whose messages differ only by row, such as by a number."""
        self._counts[field] += 1
        if (alike := self._alike_of(field, cause or message)) is not None:
            alike.add(Fault(message, line, field))

    def _alike_of(self, field: str | None, cause: str) -> Alike | None:
        """The faults of this cause so far; None where the log has room for no further cause."""
        if (field, cause) not in self._alike and len(self._alike) >= self._max_reported:
            return None
        return self._alike.setdefault((field, cause), Alike(cause, []))

    def assume(self, message: str) -> None:
        """Add an assumption, made in reading the data set, that its sender should know; ignores repetitions."""
        self._assumptions[message] = None

    @property
    def assumptions(self) -> tuple[str, ...]:
        """The assumptions made in reading the data set."""
        return tuple(self._assumptions)

    def add_all(self, faults: Sequence[Alike], counts: Mapping[str | None, int]) -> None:
        """Add the faults of another log: its `alike`, and the counts of all by field."""
        self._counts.update(counts)
        for found in faults:
            if (alike := self._alike_of(found.first[0].field, found.cause)) is not None:
                alike.first = [*alike.first, *found.first][:MAX_ALIKE]
                alike.count += found.count

    @property
    def alike(self) -> Sequence[Alike]:
        """The faults by cause, as far as the log has room."""
        return tuple(self._alike.values())

    @property
    def reported(self) -> Sequence[Fault]:
        """The faults to list, in the order of their lines; those that concern no single line come first."""
        return [fault for fault, _ in self._listed()]

    def _listed(self) -> list[tuple[Fault, int]]:
        listed = [entry for alike in self._alike.values() for entry in alike.listed()]
        listed.sort(key=lambda entry: entry[0].line or 0)
        return listed[: self._max_reported]

    @property
    def counts(self) -> Mapping[str | None, int]:
        """The counts of all faults by field."""
        return self._counts

    def replace(self, field: str, message: str, *fields: str) -> None:
        """Replace all faults of this field and of further `fields` by a single message at the head of the list."""
        replaced = {field, *fields}
        others = {key: alike for key, alike in self._alike.items() if key[0] not in replaced}
        self._alike = {(field, message): Alike(message, [Fault(message, None, field)], 1), **others}
        self._counts = Counter({name: count for name, count in self._counts.items() if name not in replaced})
        self._counts[field] = 1

    def raise_any(self) -> None:
        """Raises InvalidDataset if there is any fault; its last entry gives the number of further faults."""
        if not len(self):
            return
        listed = self._listed()
        more = len(self) - sum(count for _, count in listed)
        faults = [fault for fault, _ in listed] + ([Fault(f"and {more} more")] if more > 0 else [])
        count = "one fault" if len(self) == 1 else counted(len(self), "fault")
        raise InvalidDataset(f"the data set has {count}; nothing was stored", faults)


class RowSource(Protocol):
    """A data set from a client, whose rows can be read any number of times."""

    def rows(self, faults: FaultLog) -> Iterator[SourceRow]:
        """Every readable row in order; adds others' faults to `faults`. Raises PayloadTooLarge, UnsupportedFormat."""

    def sha256(self) -> str:
        """A hash of the data set's bytes and of the format in which they are read."""


async def in_chunks(items: Iterator[Item], size: int) -> AsyncIterator[list[Item]]:
    """The items in lists of `size`; a thread iterates over them, so that the event loop stays free."""
    while chunk := await to_thread.run_sync(lambda: list(islice(items, size))):
        yield chunk
