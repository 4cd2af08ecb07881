"""A data set on its way to the service: a file, bytes, or rows as they come."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

Rows = Iterable[Mapping[str, Any]]
Source = str | Path | bytes | Rows

_SPOOLED_BYTES = 8 << 20  # rows beyond this wait in a temporary file
_CONTENT_TYPES = {
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".json": "application/json",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
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
        """The content from its beginning; rows that were spooled stay open for another attempt."""
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
    """A data set ready to be sent, as often as needed.

    `filename` tells the format of bytes by its ending; rows go as JSON lines. Raises
    OSError for a file that cannot be read, TypeError and ValueError for values that JSON
    has no form for.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        with path.open("rb"):  # a missing file is better told before anything is sent
            yield Upload(filename or path.name, path)
    elif isinstance(source, bytes):
        yield Upload(filename or "dataset.jsonl", source)
    else:
        with SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as file:
            for row in source:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            yield Upload("dataset.jsonl", file)
