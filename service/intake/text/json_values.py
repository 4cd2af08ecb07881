"""JSON values that are not one a line: a list of objects, or objects printed over several lines behind each other."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from service.intake.bounds.limits import Limits
from service.intake.text.encodings import NotUtf8
from service.intake.text.strict_json import BadJson, is_utf8, parse
from service.jobs.checks.rows import FaultLog, SourceRow

_BOM = b"\xef\xbb\xbf"
_BLOCK_BYTES = 65_536
_SIGN = re.compile(rb"[^ \t\r\n]")
_OUTSIDE_STRING = re.compile(rb'["{}\[\]]')
_INSIDE_STRING = re.compile(rb'["\\]')
_LIST_OF_OBJECTS = re.compile(rb"\s*\[\s*(?:[{\]]|\Z)")
_OBJECT_OVER_LINES = re.compile(rb"\s*\{[ \t]*\r?[\n\r]")


def is_list_of_objects(head: bytes) -> bool:
    """Whether a file that begins so is a JSON array of objects."""
    return _LIST_OF_OBJECTS.match(head.removeprefix(_BOM)) is not None


def is_json_values(head: bytes) -> bool:
    """Whether a file that begins so is a JSON array, or objects that are printed over several lines."""
    text = head.removeprefix(_BOM)
    return text.lstrip().startswith(b"[") or _OBJECT_OVER_LINES.match(text) is not None


def read_json_values(file: IO[bytes], limits: Limits, faults: FaultLog) -> Iterator[SourceRow]:
    """Every object with the line where it begins. Raises PayloadTooLarge.

    Between broken objects nothing can be told apart, so reading stops at the first text that is none.
    """
    not_utf8 = NotUtf8(faults)
    try:
        for number, value in enumerate(_values(file, limits), 1):
            limits.check_rows(number)
            if value.content is None:
                faults.add(f"the row has more than {limits.max_row_bytes} bytes", line=value.line)
            elif not is_utf8(value.content):
                not_utf8.add(value.content, line=value.line)
            elif (fields := _fields(value.content, value.line, faults)) is not None:
                yield SourceRow(value.line, fields)
    except _OutOfPlace as error:
        faults.add(f"not valid JSON: {error}; what follows was not read", line=error.line)


def _fields(content: bytes, line: int, faults: FaultLog) -> "dict[str, object] | None":
    try:
        fields: dict[str, object] = parse(content)
    except BadJson as error:
        faults.add(f"in the object that begins here: {error}", line=line)
        return None
    return fields


@dataclass(frozen=True, slots=True)
class _Value:
    line: int
    content: bytes | None  # None where there was more than may be read


class _OutOfPlace(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _values(file: IO[bytes], limits: Limits) -> Iterator[_Value]:
    """Every object on the outermost level, as it is written. Raises _OutOfPlace and PayloadTooLarge."""
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
    """What stands between objects: the brackets of a list and its commas, or nothing."""

    def __init__(self) -> None:
        self._is_list: bool | None = None  # None before the first sign
        self._closed = False
        self._after_object = self._after_comma = False

    def begin_object(self, line: int) -> None:
        """An object begins here."""
        if self._closed:
            raise _OutOfPlace("something stands behind the end of the list", line)
        if self._is_list and self._after_object:
            raise _OutOfPlace("there is no comma between two objects of the list", line)
        self._is_list = bool(self._is_list)
        self._after_object, self._after_comma = True, False

    def take(self, sign: int, line: int) -> None:
        """A sign that begins no object."""
        if sign == b"["[0] and self._is_list is None:
            self._is_list = True
        elif sign == b","[0] and self._is_list and self._after_object:
            self._after_object, self._after_comma = False, True
        elif sign == b"]"[0] and self._is_list and not self._closed and not self._after_comma:
            self._closed = True
        elif sign in b",]":
            raise _OutOfPlace(f"there is a {chr(sign)!r} out of place", line)
        else:
            raise _OutOfPlace('there is something other than objects such as {"text": ...}, one for each row', line)

    def end(self, line: int) -> None:
        """The file ends."""
        if self._is_list and not self._closed:
            raise _OutOfPlace("the list ends without ']'", line)


class _Text:
    """The file's text, of which no more is kept than one object may have."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file, self._limits = file, limits
        self._buffer, self._at = b"", 0
        self._total = 0
        self.line = 1

    def next_sign(self) -> int | None:
        """The next byte that is no white space; None at the file's end."""
        while (found := _SIGN.search(self._buffer, self._at)) is None:
            self.advance(len(self._buffer) - self._at)
            if not self._refill():
                return None
        self.advance(found.start() - self._at)
        return found[0][0]

    def advance(self, count: int) -> bytes:
        """Go on by so many bytes of what was read, which are given back."""
        passed = self._buffer[self._at : self._at + count]
        self.line += passed.count(b"\n")
        self._at += count
        return passed

    def object(self) -> bytes | None:
        """The object that begins here; None where it is too long. Raises _OutOfPlace where it has no end."""
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
                raise _OutOfPlace("the object that begins here has no end", start)

    def _refill(self) -> bool:
        block = self._file.read(_BLOCK_BYTES)
        self._total += len(block)
        self._limits.check_bytes(self._total)
        first = self._total == len(block)
        self._buffer, self._at = block.removeprefix(_BOM) if first else block, 0
        return bool(block)


def _scan(text: bytes, at: int, depth: int, *, inside: bool) -> tuple[int, bool, int, int]:
    """Go on in an object: depth, whether in a string, bytes to skip in the next block, and where it ended."""
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
