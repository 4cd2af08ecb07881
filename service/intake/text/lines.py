"""Splits a file into lines, without keeping more of a line in memory than its maximal length."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from service.intake.bounds.limits import Limits

_BOM = b"\xef\xbb\xbf"
_SKIPPED_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its line break; `content` is None if the line is too long."""

    number: int
    content: bytes | None


def lines(file: IO[bytes], limits: Limits, max_line_bytes: int, end: bytes = b"\n") -> Iterator[Line]:
    """Every line, numbered from 1, without the byte order mark; lines end with `end`. Raises PayloadTooLarge."""
    source = file if end == b"\n" else _Returns(file)
    total = number = 0
    while content := source.readline(max_line_bytes + 2):
        number += 1
        total += len(content)
        limits.check_bytes(total)
        if not content.endswith(end) and len(content) > max_line_bytes:
            total = _skip_rest(source, limits, total, end)
            yield Line(number, None)
            continue
        yield Line(number, content.removeprefix(_BOM) if number == 1 else content)


class _Readable(Protocol):
    def readline(self, size: int, /) -> bytes: ...


class _Returns:
    """A file whose lines end with a lone carriage return."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._block = b""
        self._at = 0

    def readline(self, size: int, /) -> bytes:
        """A line with its end, or its first `size` bytes."""
        line = b""
        while len(line) < size:
            if self._at == len(self._block):
                self._block, self._at = self._file.read(_SKIPPED_BYTES), 0
            if not self._block:
                break
            found = self._block.find(b"\r", self._at) + 1 or len(self._block)
            piece = self._block[self._at : min(found, self._at + size - len(line))]
            self._at += len(piece)
            line += piece
            if piece.endswith(b"\r"):
                break
        return line


def _skip_rest(file: _Readable, limits: Limits, total: int, end: bytes) -> int:
    """Skip to the next line break; return the total of bytes read so far."""
    while rest := file.readline(_SKIPPED_BYTES):
        total += len(rest)
        limits.check_bytes(total)
        if rest.endswith(end):
            break
    return total
