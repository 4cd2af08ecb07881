"""Finds out which format an upload has: by its name, else its content type, else its first bytes."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from service.errors import UnsupportedFormat

SNIFFED_BYTES = 4096
_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_BOM = b"\xef\xbb\xbf"


class Format(StrEnum):
    """What can be read."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


_BY_SUFFIX = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
}
_BY_CONTENT_TYPE = {
    "application/jsonl": Format.JSONL,
    "application/x-jsonlines": Format.JSONL,
    "application/json-lines": Format.JSONL,
    "application/x-ndjson": Format.JSONL,
    "application/ndjson": Format.JSONL,
    "text/csv": Format.CSV,
    "application/csv": Format.CSV,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/x-parquet": Format.PARQUET,
}


@dataclass(frozen=True, slots=True)
class Upload:
    """What the sender says about a file."""

    filename: str | None
    content_type: str | None


def is_gzip(head: bytes) -> bool:
    """Whether a file that begins so is packed by gzip."""
    return head.startswith(_GZIP_MAGIC)


def detect_format(upload: Upload, head: bytes) -> Format:
    """The format of a file whose unpacked content begins with `head`. Raises UnsupportedFormat."""
    declared = _by_name(upload.filename or "") or _by_content_type(upload.content_type or "")
    return declared or _sniff(head)


def _by_name(filename: str) -> Format | None:
    name = PurePosixPath(filename.lower().removesuffix(".gz"))
    return _BY_SUFFIX.get(name.suffix)


def _by_content_type(content_type: str) -> Format | None:
    return _BY_CONTENT_TYPE.get(content_type.partition(";")[0].strip().lower())


def _sniff(head: bytes) -> Format:
    if head.startswith(_PARQUET_MAGIC):
        return Format.PARQUET
    text = head.removeprefix(_BOM).lstrip()
    if text.startswith(b"{"):
        return Format.JSONL
    if text.startswith(b"["):
        raise UnsupportedFormat("the file is a JSON array; send JSON lines: one object a line")
    if b"," in text.partition(b"\n")[0] and b"\0" not in text:
        return Format.CSV
    raise UnsupportedFormat("the data set's format was not recognized; send JSON lines, CSV or Parquet")
