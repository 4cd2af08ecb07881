"""Prepare a data set for upload: a file, bytes, a table, or rows from an iterator."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Protocol

from icm.data.rows import lines_of
from icm.data.tables import is_dataset, is_frame, write_dataset, write_frame
from icm.errors import UnsendableData


class Streamed(Protocol):
    """A table with Arrow's interface: of pyarrow, pandas, polars, DuckDB."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class Saved(Protocol):
    """A `datasets.Dataset`."""

    def to_parquet(self, path_or_buf: Any) -> int:
        """Write the data set; return the number of bytes."""


Rows = Iterable[Mapping[str, Any]]
Source = str | Path | bytes | IO[bytes] | IO[str] | Streamed | Saved | Rows

_UNNAMED = "dataset"  # without an ending, so that the service recognizes the format by the content
_BLOCK = 1 << 20
_SPOOLED_BYTES = 8 << 20  # rows beyond this wait in a temporary file
_CONTENT_TYPES = {
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".json": "application/json",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".gz": "application/gzip",
}


@dataclass(frozen=True)
class Upload:
    """A file part that can be sent again after a failed attempt."""

    name: str
    source: Path | bytes | IO[bytes]

    @property
    def content_type(self) -> str:
        """The media type its name suggests."""
        return _CONTENT_TYPES.get(Path(self.name).suffix.lower(), "application/octet-stream")

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Yield the content from its beginning; spooled rows stay open for another attempt."""
        if isinstance(self.source, Path):
            with self.source.open("rb") as file:
                yield file
        elif isinstance(self.source, bytes):
            yield BytesIO(self.source)
        else:
            self.source.seek(0)
            yield self.source


@contextmanager
def prepared(source: Source, *, filename: str | None = None) -> Iterator[Upload]:
    """Yield a data set that the client can send repeatedly.

    The extension of `filename` names the format of bytes and open files; without a name, the service recognizes the
    format by the content. Tables become Parquet, rows JSON lines. Raises OSError for an unreadable file, and
    UnsendableData, with row and column, for a value without a JSON form.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        with path.open("rb"):  # report a missing file before sending anything
            yield Upload(filename or path.name, path)
    elif isinstance(source, bytes | bytearray | memoryview):
        yield Upload(filename or _UNNAMED, bytes(source))
    else:
        with SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as file:
            yield Upload(_spooled(source, file, filename), file)


def _spooled(source: Any, file: IO[bytes], filename: str | None) -> str:
    """Spool a source that cannot be read twice; return a name with the extension of its format."""
    if hasattr(source, "read"):
        _copy(source, file)
        own = getattr(source, "name", None)  # a number if the file has no name
        return filename or (Path(own).name if isinstance(own, str) else _UNNAMED)
    if is_dataset(source):
        write_dataset(source, file)
        return "dataset.parquet"
    if is_frame(source):
        return f"dataset.{write_frame(source, file)}"
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        kind = type(source).__name__
        raise UnsendableData(
            f"a data set cannot be of type {kind}: give a file, one table, or a list of rows, each of them a dict"
        )
    file.writelines(lines_of(source))
    return "dataset.jsonl"


def _copy(source: Any, file: IO[bytes]) -> None:
    """Copy the rest of an open file, with text as UTF-8."""
    while block := source.read(_BLOCK):
        file.write(block.encode() if isinstance(block, str) else block)
    if file.tell() == 0 and source.seekable() and source.tell() > 0:
        raise UnsendableData("the open file has been read or written to its end: go back with file.seek(0)")
