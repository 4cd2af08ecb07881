"""Reads JSON that is not one object per line: a list of objects, or objects over several lines."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from service.intake.bounds.limits import Limits
from service.intake.text.json_faults import JsonFaults
from service.intake.text.strict_json import BadJson, parse
from service.jobs.checks.rows import FaultLog, SourceRow

_BOM = b"\xef\xbb\xbf"
RECORD_SEPARATOR = b"\x1e"
_BLOCK_BYTES = 65_536
_SIGN = re.compile(rb"[^ \t\r\n]")
_OUTSIDE_STRING = re.compile(rb'["{}\[\]]')
_INSIDE_STRING = re.compile(rb'["\\]')
_OBJECT_OVER_LINES = re.compile(rb"\s*\{[ \t]*\r?[\n\r]")


def is_json_values(head: bytes) -> bool:
    """Whether a file with this beginning is a JSON array, or has objects over several lines."""
    text = head.removeprefix(_BOM)
    return text.lstrip().startswith(b"[") or _OBJECT_OVER_LINES.match(text) is not None


def is_json_sequence(head: bytes) -> bool:
    """Whether a file with this beginning is a JSON text sequence (RFC 7464): a record separator before each text."""
    return head.removeprefix(_BOM).lstrip().startswith(RECORD_SEPARATOR)


class WithoutSeparators(io.RawIOBase):
    """The content of a JSON text sequence, with blanks for the record separators, which no JSON text may contain."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read the next block."""
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block.replace(RECORD_SEPARATOR, b" ")
        return len(block)


def read_json_values(file: IO[bytes], limits: Limits, faults: FaultLog) -> Iterator[SourceRow]:
    """Every object as a row with the line where it begins. Raises PayloadTooLarge.

    Reading stops at the first invalid text between objects, since the next object's beginning is then unknown.
    """
    unread = JsonFaults(faults)
    try:
        for number, value in enumerate(_values(file, limits), 1):
            limits.check_rows(number)
            if value.content is None:
                faults.add(f"the row has more than {limits.max_row_bytes} bytes", line=value.line)
            elif (fields := _fields(value.content, value.line, unread)) is not None:
                yield SourceRow(value.line, fields)
    except _OutOfPlace as error:
        faults.add(f"{error}; what follows was not read", line=error.line)


def _fields(content: bytes, line: int, unread: JsonFaults) -> "dict[str, object] | None":
    try:
        fields: dict[str, object] = parse(content)
    except BadJson as error:
        unread.add(error, content, line=line, where="in the object that begins here: ")
        return None
    return fields


@dataclass(frozen=True, slots=True)
class _Value:
    line: int
    content: bytes | None  # None if the object is too long


class _OutOfPlace(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _values(file: IO[bytes], limits: Limits) -> Iterator[_Value]:
    """The text of every object on the outermost level. Raises _OutOfPlace and PayloadTooLarge."""
    between = _Between()
    text = _Text(file, limits)
    while (start := text.next_sign()) is not None:
        if start != b"{"[0]:
            between.take(start, text.line)
            text.advance(1)
            continue
        between.begin_object(text.line)
        line = text.line
        yield _Value(line, text.object())
    between.end(text.line)


class _Between:
    """Checks the text between objects: the brackets and commas of a list, or only white space."""

    def __init__(self) -> None:
        self._is_list: bool | None = None  # None before the first sign
        self._closed = False
        self._after_object = self._after_comma = False

    def begin_object(self, line: int) -> None:
        """Check that an object may begin here."""
        if self._closed:
            raise _OutOfPlace("not valid JSON: something stands behind the end of the list", line)
        if self._is_list and self._after_object:
            raise _OutOfPlace("not valid JSON: there is no comma between two objects of the list", line)
        self._is_list = bool(self._is_list)
        self._after_object, self._after_comma = True, False

    def take(self, sign: int, line: int) -> None:
        """Check a character between objects."""
        if sign == b"["[0] and self._is_list is None:
            self._is_list = True
        elif sign == b","[0] and self._is_list and self._after_object:
            self._after_object, self._after_comma = False, True
        elif sign == b"]"[0] and self._is_list and not self._closed and not self._after_comma:
            self._closed = True
        elif sign == b"]"[0] and self._after_comma:
            raise _OutOfPlace("not valid JSON: a comma stands before the ']' that ends the list; remove it", line)
        elif sign in b",]":
            raise _OutOfPlace(f"not valid JSON: there is a {chr(sign)!r} out of place", line)
        else:
            raise _OutOfPlace('there is something other than objects such as {"text": ...}, one for each row', line)

    def end(self, line: int) -> None:
        """Check that the file may end here."""
        if self._is_list and not self._closed:
            raise _OutOfPlace("not valid JSON: the list ends without ']'", line)


class _Text:
    """A scanner over the file's text that keeps at most one object of allowed size in memory."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file, self._limits = file, limits
        self._buffer, self._at = b"", 0
        self._total = 0
        self.line = 1

    def next_sign(self) -> int | None:
        """The next byte that is not white space; None at the end of the file."""
        while (found := _SIGN.search(self._buffer, self._at)) is None:
            self.advance(len(self._buffer) - self._at)
            if not self._refill():
                return None
        self.advance(found.start() - self._at)
        return found[0][0]

    def advance(self, count: int) -> bytes:
        """Consume `count` bytes of the buffer and return them."""
        passed = self._buffer[self._at : self._at + count]
        self.line += passed.count(b"\n")
        self._at += count
        return passed

    def object(self) -> bytes | None:
        """Consume and return the object that begins here; None if it is too long. Raises _OutOfPlace without an end."""
        start, depth, inside = self.line, 0, False
        kept, size, skip = bytearray(), 0, 0
        while True:
            depth, inside, skip, end = _scan(self._buffer, self._at + skip, depth, inside=inside)
            block = self.advance(end - self._at)
            size += len(block)
            if size <= self._limits.max_row_bytes:
                kept += block
            if depth == 0:
                return bytes(kept) if size <= self._limits.max_row_bytes else None
            if not self._refill():
                raise _OutOfPlace("not valid JSON: the object that begins here has no end; is the file cut off?", start)

    def _refill(self) -> bool:
        block = self._file.read(_BLOCK_BYTES)
        self._total += len(block)
        self._limits.check_bytes(self._total)
        first = self._total == len(block)
        self._buffer, self._at = block.removeprefix(_BOM) if first else block, 0
        return bool(block)


def _scan(text: bytes, at: int, depth: int, *, inside: bool) -> tuple[int, bool, int, int]:
    """Scan within an object; return the depth, whether in a string, bytes to skip in the next block, and the end."""
    while (found := (_INSIDE_STRING if inside else _OUTSIDE_STRING).search(text, at)) is not None:
        sign, at = found[0], found.end()
        if sign == b"\\":
            at += 1
        elif sign == b'"':
            inside = not inside
        else:
            depth += 1 if sign in b"{[" else -1
            if depth == 0:
                return 0, False, 0, at
    return depth, inside, max(0, at - len(text)), len(text)
