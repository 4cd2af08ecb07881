"""Splits a file into lines, without keeping more of a line in memory than its maximal length."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from service.intake.bounds.limits import Limits

_BOM = b"\xef\xbb\xbf"
RARE_ENDS = {  # line ends of few programs, in UTF-8
    "\x85".encode(): "U+0085, as mainframes write them",
    "\u2028".encode(): "U+2028",
    "\u2029".encode(): "U+2029",
}
_SKIPPED_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its line break; `content` is None if the line is too long."""

    number: int
    content: bytes | None


def lines(file: IO[bytes], limits: Limits, max_line_bytes: int, end: bytes = b"\n") -> Iterator[Line]:
    """Every line, numbered from 1, without the byte order mark; lines end with `end`. Raises PayloadTooLarge."""
    source = file if end == b"\n" else _Ended(file, end)
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


def rare_end(head: bytes) -> bytes | None:
    """The rare line end of a file with this beginning; None if it has usual ones, beside which a rare one is text."""
    if b"\n" in head or b"\r" in head:
        return None
    return next((end for end in RARE_ENDS if end in head), None)


class _Readable(Protocol):
    def readline(self, size: int, /) -> bytes: ...


class _Ended:
    """A file whose lines end with something other than a line feed."""

    def __init__(self, file: IO[bytes], end: bytes) -> None:
        self._file, self._end = file, end
        self._block = b""
        self._at = 0

    def readline(self, size: int, /) -> bytes:
        """A line with its end, or its first `size` bytes."""
        while (found := self._block.find(self._end, self._at)) < 0 and len(self._block) - self._at < size:
            if not (more := self._file.read(_SKIPPED_BYTES)):
                break
            self._block, self._at = self._block[self._at :] + more, 0
        stop = len(self._block) if found < 0 else found + len(self._end)
        line = self._block[self._at : min(stop, self._at + size)]
        self._at += len(line)
        return line


def _skip_rest(file: _Readable, limits: Limits, total: int, end: bytes) -> int:
    """Skip to the next line break; return the total of bytes read so far."""
    while rest := file.readline(_SKIPPED_BYTES):
        total += len(rest)
        limits.check_bytes(total)
        if rest.endswith(end):
            break
    return total
