"""Reads the rows of a data set, from an uploaded file of any format or from examples in the request."""

import contextlib
import gzip
import hashlib
import io
import tempfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from types import TracebackType
from typing import IO, Any, Self

import orjson

from service.errors import UnsupportedFormat
from service.intake.bounds.kept_rows import KeptRows
from service.intake.bounds.limits import Limits
from service.intake.bounds.scratch import scratch_space
from service.intake.bounds.watching import Watch, WatchedFile
from service.intake.formats import SNIFFED_BYTES, Format, Upload, detect_format, is_gzip, refuse_others
from service.intake.text.delimited import read_csv
from service.intake.text.dialects import detect_dialect
from service.intake.text.encodings import UTF16_ASSUMED, CutUtf16, FromUtf16, is_utf16, unread_encoding
from service.intake.text.json_values import WithoutSeparators, is_json_sequence, is_json_values, read_json_values
from service.intake.text.jsonl import read_jsonl
from service.intake.text.lines import RARE_ENDS, rare_end
from service.intake.unpacked.unpacking import UnpackedParquet, unpack_parquet
from service.jobs.checks.rows import FaultLog, SourceRow

_BUFFER_BYTES = 131_072
_BLOCK_BYTES = 1_048_576
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)  # errors of truncated or damaged gzip files


class FileSource:
    """The rows of an uploaded file; each reading starts at its beginning, and only one may run at a time.

    The caller closes the source in the end, and still owns the file itself.
    """

    def __init__(self, file: IO[bytes], upload: Upload, limits: Limits) -> None:
        self._file = file
        self._upload = upload
        self._limits = limits.for_file(file.seek(0, io.SEEK_END))
        self._parquet: UnpackedParquet | None = None
        self._watch = Watch()
        self._kept = KeptRows(self._rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cancel(self) -> None:
        """The client has left: end a reading in any thread with RequestTooSlow."""
        self._watch.cancel()

    def close(self) -> None:
        """Delete the temporary files of the reading, and the rows in memory."""
        self._kept.forget()
        if self._parquet is not None:
            self._parquet.close()

    def prepare(self) -> None:
        """Do the work of a reading up to its first row; for Parquet this converts the whole file.

        Raises PayloadTooLarge, UnsupportedFormat and SpoolFull.
        """
        rows = self.rows(FaultLog(0))
        next(rows, None)
        rows.close()

    def rows(self, faults: FaultLog) -> Generator[SourceRow, None, None]:
        """Every readable row; `faults` gets the others. Raises PayloadTooLarge, UnsupportedFormat, RequestTooSlow."""
        yield from self._watch.over(self._kept.rows(faults))

    def _rows(self, faults: FaultLog) -> Iterator[SourceRow]:
        try:
            with self._unpacked() as content:
                head = content.peek(SNIFFED_BYTES)
                if is_utf16(head):
                    faults.assume(UTF16_ASSUMED)
                elif (problem := unread_encoding(head)) is not None:
                    refuse_others(head)  # they have many zeros, too
                    faults.add(problem, line=1)
                    return
                yield from self._read(_as_utf8(content), faults)
        except _DAMAGED as error:
            faults.add(_gzip_fault(error))
        except CutUtf16 as error:
            faults.add(str(error), line=error.line)

    def sha256(self) -> str:
        """The hash of the file's bytes and of its detected format."""
        digest = hashlib.sha256()
        self._file.seek(0)
        while block := self._file.read(_BLOCK_BYTES):
            digest.update(block)
        with (
            contextlib.suppress(*_DAMAGED, CutUtf16, UnsupportedFormat),
            self._unpacked() as content,
        ):  # the reading reports these errors
            digest.update(detect_format(self._upload, _as_utf8(content).peek(SNIFFED_BYTES)).format.encode())
        return digest.hexdigest()

    def _unpacked(self) -> io.BufferedReader:
        """The uncompressed content from its beginning. Closing it leaves the upload open."""
        content = gzip.GzipFile(fileobj=self._file, mode="rb") if self._is_packed() else self._file
        return io.BufferedReader(WatchedFile(content, self._watch), _BUFFER_BYTES)

    def _is_packed(self) -> bool:
        self._file.seek(0)
        packed = is_gzip(self._file.read(2))
        self._file.seek(0)
        return packed

    def _read(self, content: io.BufferedReader, faults: FaultLog) -> Iterator[SourceRow]:
        head = content.peek(SNIFFED_BYTES)
        if not head:
            return
        detected = detect_format(self._upload, head)
        if detected.assumption is not None:
            faults.assume(detected.assumption)
        match detected.format:
            case Format.JSONL:
                yield from _read_json(content, head, self._limits, faults)
            case Format.CSV | Format.TSV as form:
                yield from _read_cells(content, head, form, self._limits, faults)
            case Format.PARQUET | Format.XLSX as form:
                yield from self._read_unpacked(content, "Excel" if form is Format.XLSX else "Parquet", faults)

    def _read_unpacked(self, content: io.BufferedReader, form: str, faults: FaultLog) -> Iterator[SourceRow]:
        if self._parquet is None:
            with scratch_space(), tempfile.TemporaryFile() as copy:  # the reader's process needs a file on disk
                _copy(content, copy, self._limits)
                self._parquet = unpack_parquet(copy, self._limits, self._watch.check_wanted, form=form)
                self._watch.restart()
        yield from self._parquet.rows(faults)


def _gzip_fault(error: Exception) -> str:
    """What is wrong with a gzip file that raised one of `_DAMAGED`."""
    if isinstance(error, EOFError):
        return "the gzip file is cut off, since its end is missing; fetch or pack it again, as a whole"
    if isinstance(error, gzip.BadGzipFile) and "Not a gzipped file" in str(error):
        return "the gzip file has something other than gzip behind its end; remove it, or pack the file again"
    return "the gzip file is damaged: its content does not fit its checksum; fetch or pack it again"


def _as_utf8(content: io.BufferedReader) -> io.BufferedReader:
    """The rest of the content, converted to UTF-8 if it is UTF-16."""
    if is_utf16(content.peek(SNIFFED_BYTES)):
        return io.BufferedReader(FromUtf16(content), _BUFFER_BYTES)
    return content


def _read_json(content: IO[bytes], head: bytes, limits: Limits, faults: FaultLog) -> Iterator[SourceRow]:
    if is_json_sequence(head):
        faults.assume("the file is a JSON text sequence (RFC 7464), and was read so")
        return read_json_values(io.BufferedReader(WithoutSeparators(content), _BUFFER_BYTES), limits, faults)
    if is_json_values(head):
        return read_json_values(content, limits, faults)
    if (end := rare_end(head)) is not None and _ends_objects(end, head):
        faults.assume(f"lines end with {RARE_ENDS[end]}, and were read so")
        return read_jsonl(content, limits, faults, line_end=end)
    return read_jsonl(content, limits, faults, line_end=b"\n" if b"\n" in head or b"\r" not in head else b"\r")


def _ends_objects(end: bytes, head: bytes) -> bool:
    """Whether it stands behind objects alone: within a text it is a character like others."""
    *ended, _ = head.split(end)
    return all(line.rstrip().endswith(b"}") for line in ended if line.strip())


def _read_cells(content: IO[bytes], head: bytes, form: Format, limits: Limits, faults: FaultLog) -> Iterator[SourceRow]:
    dialect = detect_dialect(head, "\t" if form is Format.TSV else ",", cut=len(head) >= SNIFFED_BYTES)
    if dialect.problem is not None:
        faults.add(dialect.problem, line=dialect.problem_line)
        return iter(())
    for assumption in dialect.assumptions:
        faults.assume(assumption)
    return read_csv(content, limits, faults, dialect)


def _copy(content: IO[bytes], copy: IO[bytes], limits: Limits) -> None:
    total = 0
    while block := content.read(_BLOCK_BYTES):
        total += len(block)
        limits.check_bytes(total)
        copy.write(block)
    copy.flush()
    copy.seek(0)


class InlineSource:
    """The rows of a data set that the request itself contains as `examples`."""

    def __init__(self, examples: Sequence[Any], limits: Limits) -> None:
        self._examples = examples
        self._limits = limits
        self._watch = Watch()

    def cancel(self) -> None:
        """The client has left: end a reading in any thread with RequestTooSlow."""
        self._watch.cancel()

    def rows(self, faults: FaultLog) -> Iterator[SourceRow]:
        """Every example that is an object, numbered from 1. Raises PayloadTooLarge and RequestTooSlow."""
        yield from self._watch.over(self._rows(faults))

    def _rows(self, faults: FaultLog) -> Iterator[SourceRow]:
        self._limits.check_rows(len(self._examples))
        for number, example in enumerate(self._examples, 1):
            if not isinstance(example, dict):
                faults.add("the example is not a JSON object", line=number)
            elif len(orjson.dumps(example)) > self._limits.max_row_bytes:
                faults.add(f"the row has more than {self._limits.max_row_bytes} bytes", line=number)
            else:
                yield SourceRow(number, example)

    def sha256(self) -> str:
        """The hash of the examples, serialised as JSON."""
        return hashlib.sha256(orjson.dumps(self._examples)).hexdigest()
