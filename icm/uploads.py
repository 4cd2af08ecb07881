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


def as_upload(source: Source, *, filename: str | None = None) -> Upload:
    """Make a data set ready to be sent.

    `filename` tells the format of bytes by its ending; rows go as JSON lines. Raises
    OSError for a file that cannot be read and TypeError for values that JSON has no form for.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        with path.open("rb"):  # a missing file is better told before anything is sent
            return Upload(filename or path.name, path)
    if isinstance(source, bytes):
        return Upload(filename or "dataset.jsonl", source)
    return Upload("dataset.jsonl", _spooled(source))


def _spooled(rows: Rows) -> IO[bytes]:
    file = SpooledTemporaryFile(max_size=_SPOOLED_BYTES)  # noqa: SIM115 - lives as long as the upload may be repeated
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
    return file
