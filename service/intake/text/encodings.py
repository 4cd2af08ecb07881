"""Handles text that is not UTF-8: converts UTF-16 with a byte order mark, and reports other encodings once."""

import codecs
import io
import re
from typing import IO, Any

from service.jobs.checks.rows import FaultLog

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UTF16_ASSUMED = "the file is UTF-16, as its byte order mark says, and was read so; results are UTF-8"
_UTF32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_SAMPLE_BYTES = 4096
_BLOCK_BYTES = 65_536
_WIDE_SHARE = 4  # if at least one byte in four is NUL, characters have two or four bytes
_PRINTABLE = bytes(range(32, 127)) + b"\t\r\n"
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")
_HALF_A_PAIR = re.compile("[\ud800-\udbff]\\Z")
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")


def is_utf16(head: bytes) -> bool:
    """Whether a file with this beginning has the byte order mark of UTF-16."""
    return head.startswith(UTF16_MARKS) and not head.startswith(_UTF32_MARKS)


def unread_encoding(head: bytes) -> str | None:
    """The fault of a file with this beginning, if its encoding is UTF-32 or UTF-16 without a mark; otherwise None."""
    if head.startswith(_UTF32_MARKS):
        return "the file is UTF-32; save it as UTF-8"
    sample = head[:_SAMPLE_BYTES]
    if _is_wide(sample):
        return (
            "the file looks like UTF-16 or UTF-32 without a byte order mark (every other character is NUL); "
            "save it as UTF-8"
        )
    return None


def _is_wide(sample: bytes) -> bool:
    """Whether every other byte is NUL and the others are mostly printable ASCII, unlike in binary formats."""
    nuls = max(sample[::2].count(0), sample[1::2].count(0))
    others = sample.replace(b"\0", b"")
    return nuls * _WIDE_SHARE >= len(sample) > 1 and len(others.translate(None, _PRINTABLE)) * 10 <= len(others)


class CutUtf16(Exception):
    """A UTF-16 file ends in the middle of a character; `line` is its last line."""

    def __init__(self, line: int) -> None:
        super().__init__(
            "the file is UTF-16 and ends in the middle of a character: it is cut off, or text in another encoding was "
            "put behind its end; fetch or write it again as a whole, best as UTF-8"
        )
        self.line = line


class FromUtf16(io.RawIOBase):
    """Converts a UTF-16 file with a byte order mark to UTF-8; raises CutUtf16 behind its last whole character."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-16")("surrogatepass")
        self._pending = b""
        self._ended = False
        self._line = 1

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read the next block."""
        while not self._pending and not self._ended:
            self._pending = self._next_block()
        block, self._pending = self._pending[: len(buffer)], self._pending[len(buffer) :]
        buffer[: len(block)] = block
        return len(block)

    def _next_block(self) -> bytes:
        block = self._file.read(_BLOCK_BYTES)
        self._ended = not block
        try:
            text = self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError as error:
            raise CutUtf16(self._line) from error
        if self._ended and _HALF_A_PAIR.search(text):
            raise CutUtf16(self._line)
        self._line += text.count("\n")
        return text.encode("utf-8", "surrogatepass")

    def close(self) -> None:
        """Close the file, too."""
        self._file.close()
        super().close()


class NotUtf8:
    """Reports only the first row that is not UTF-8, since the whole file is then in another encoding."""

    def __init__(self, faults: FaultLog) -> None:
        self._faults = faults
        self._reported = False

    def add(self, raw: bytes, *, line: int, field: str | None = None) -> None:
        """Report this text unless one was reported before."""
        if not self._reported:
            self._faults.add(f"not valid UTF-8{_remedy(raw)}", line=line, field=field)
        self._reported = True


def _remedy(raw: bytes) -> str:
    if _SURROGATE.search(raw):
        return ": half of a surrogate pair, which is not a character"
    advice = "save the file as UTF-8; further rows like this one are not listed"
    runs = _NOT_ASCII.findall(raw)
    if not runs or any(byte < 0xA0 and byte not in b"\x91\x92\x93\x94\x96\x97" for byte in runs[0]):
        return f"; {advice}"
    shown = runs[0][:20].decode("cp1252", errors="replace")
    guess = "Windows-1252 or Latin-1, as Excel and older programs write it" if len(runs[0]) < 4 else "another encoding"
    return f": it looks like {guess} (read so, the first odd characters are {shown!r}), which is not certain; {advice}"
