"""Physical lines of a file, none of them read further than it may be long."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from service.intake.limits import Limits

_BOM = b"\xef\xbb\xbf"
_SKIPPED_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its line break; `content` is None where there was more than may be read."""

    number: int
    content: bytes | None


def lines(file: IO[bytes], limits: Limits, max_line_bytes: int) -> Iterator[Line]:
    """Every line, numbered from 1, without the file's byte order mark. Raises PayloadTooLarge."""
    total = number = 0
    while content := file.readline(max_line_bytes + 2):
        number += 1
        total += len(content)
        limits.check_bytes(total)
        if not content.endswith(b"\n") and len(content) > max_line_bytes:
            total = _skip_rest(file, limits, total)
            yield Line(number, None)
            continue
        yield Line(number, content.removeprefix(_BOM) if number == 1 else content)


def _skip_rest(file: IO[bytes], limits: Limits, total: int) -> int:
    """Read up to the next line break without keeping anything; the bytes read so far."""
    while rest := file.readline(_SKIPPED_BYTES):
        total += len(rest)
        limits.check_bytes(total)
        if rest.endswith(b"\n"):
            break
    return total
