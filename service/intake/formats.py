"""Detects the format of an upload: by its name, otherwise by its content type, otherwise by its first bytes.

The first bytes overrule the name and the content type if they allow only one format.
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from service.errors import UnsupportedFormat
from service.intake.text.foreign import foreign_text, looks_aligned

SNIFFED_BYTES = 4096
_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_ZIP_MAGIC = b"PK\x03\x04"
_BOM = b"\xef\xbb\xbf"
_OTHERS = {
    _GZIP_MAGIC: ("packed by gzip twice", "pack it once"),
    _ZIP_MAGIC: (
        "a zip archive, or a spreadsheet that is not named .xlsx",
        "unpack it, or save the sheet as .xlsx or CSV",
    ),
    b"\xd0\xcf\x11\xe0": (
        "an old Excel or Office file, or one with a password",
        "save the sheet as .xlsx or CSV, without a password",
    ),
    b"ARROW1": ("an Arrow or Feather file", "write it as Parquet"),
    b"FEA1": ("a Feather file", "write it as Parquet"),
    b"Obj\x01": ("an Avro file", "write it as Parquet"),
    b"ORC": ("an ORC file", "write it as Parquet"),
    b"\x89HDF": ("an HDF5 file", "write it as Parquet"),
    b"\x93NUMPY": ("a NumPy file", "write it as Parquet or JSON lines"),
    b"SQLite format 3": ("an SQLite database", "export the table as CSV"),
    b"\x80\x04\x95": ("a Python pickle", "write it as Parquet or JSON lines"),
    b"\x80\x05\x95": ("a Python pickle", "write it as Parquet or JSON lines"),
    b"{\\rtf": ("a text in RTF", "save it as CSV in UTF-8"),
    b"%PDF": ("a PDF document", "send its texts as JSON lines or CSV"),
    b"BZh": ("packed by bzip2", "unpack it, or pack it by gzip"),
    b"\xfd7zXZ": ("packed by xz", "unpack it, or pack it by gzip"),
    b"\x28\xb5\x2f\xfd": ("packed by Zstandard", "unpack it, or pack it by gzip"),
    b"7z\xbc\xaf": ("a 7-Zip archive", "unpack it"),
    b"version https://git-lfs": ("a Git LFS pointer in place of the file", "fetch the file with git lfs pull"),
}
_TAR_MAGIC_AT = 257
_CELL_SIGNS = (b",", b";", b"\t")
_JSON_BEGINS = re.compile(rb'[\s\x1e]*(?:\{\s*(?:"|\}|\Z)|\[\s*\{)')


class Format(StrEnum):
    """The formats that the service reads."""

    JSONL = "jsonl"  # any JSON: one object per line, a list, or objects over several lines
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    XLSX = "xlsx"  # an Excel workbook


_NAMES = {
    Format.JSONL: "JSON",
    Format.CSV: "CSV",
    Format.TSV: "tab-separated text",
    Format.PARQUET: "Parquet",
    Format.XLSX: "Excel",
}
_BY_SUFFIX = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
    ".json-seq": Format.JSONL,
    ".jsonseq": Format.JSONL,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".xlsx": Format.XLSX,
    ".xlsm": Format.XLSX,
}
_BY_CONTENT_TYPE = {
    "application/jsonl": Format.JSONL,
    "application/x-jsonlines": Format.JSONL,
    "application/json-lines": Format.JSONL,
    "application/x-ndjson": Format.JSONL,
    "application/json-seq": Format.JSONL,
    "application/ndjson": Format.JSONL,
    "application/json": Format.JSONL,
    "text/tab-separated-values": Format.TSV,
    "text/csv": Format.CSV,
    "application/csv": Format.CSV,
    "application/vnd.apache.parquet": Format.PARQUET,
    "application/x-parquet": Format.PARQUET,
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": Format.XLSX,
}


@dataclass(frozen=True, slots=True)
class Upload:
    """The name and content type that the sender declares for a file."""

    filename: str | None
    content_type: str | None


def is_gzip(head: bytes) -> bool:
    """Whether a file with this beginning is compressed by gzip."""
    return head.startswith(_GZIP_MAGIC)


@dataclass(frozen=True, slots=True)
class Detected:
    """The detected format of a file, and an assumption to report to the sender."""

    format: Format
    assumption: str | None = None


def detect_format(upload: Upload, head: bytes) -> Detected:
    """Detect the format of a file whose uncompressed content begins with `head`, as UTF-8. Raises UnsupportedFormat."""
    declared = _by_name(upload.filename or "") or _by_content_type(upload.content_type or "")
    if declared is Format.XLSX:
        if head.startswith(_ZIP_MAGIC):
            return Detected(Format.XLSX)
        declared = None  # it is not a workbook, so its name does not count
    refuse_others(head)
    found = _certain(head)
    if declared is None:
        return Detected(found or _sniff(head))
    if found is not None and found is not declared:
        names = f"{_NAMES[found]}, not {_NAMES[declared]}"
        return Detected(found, f"the file is {names} as its name or content type says, and was read so")
    if declared is Format.JSONL and found is None and head.removeprefix(_BOM).strip():
        _refuse_what_is_no_json(head)
    return Detected(declared)


def _by_name(filename: str) -> Format | None:
    name = PurePosixPath(filename.lower().removesuffix(".gz"))
    return _BY_SUFFIX.get(name.suffix)


def _by_content_type(content_type: str) -> Format | None:
    return _BY_CONTENT_TYPE.get(content_type.partition(";")[0].strip().lower())


def _certain(head: bytes) -> Format | None:
    """The only format that allows these first bytes; None if there are several."""
    if head.startswith(_PARQUET_MAGIC):
        return Format.PARQUET
    return Format.JSONL if _JSON_BEGINS.match(head.removeprefix(_BOM)) else None


def refuse_others(head: bytes) -> None:
    """Raises UnsupportedFormat if the first bytes show a known format that the service does not read."""
    for magic, (what, remedy) in _OTHERS.items():
        if head.startswith(magic):
            raise UnsupportedFormat(f"the file is {what}, which is not read; {remedy}")
    if head[_TAR_MAGIC_AT:].startswith(b"ustar"):
        raise UnsupportedFormat("the file is a tar archive, which is not read; unpack it")
    if (looks := foreign_text(head.removeprefix(_BOM))) is not None:
        what, remedy = looks
        raise UnsupportedFormat(f"the file looks like {what}, which is not read; {remedy}")


def _refuse_what_is_no_json(head: bytes) -> None:
    """Refuse a file that is not JSON by one message instead of one for each line. Raises UnsupportedFormat."""
    text = head.removeprefix(_BOM).lstrip()
    if text.startswith((b"{", b"[")):
        return  # the reader will report the faulty line
    line = text.partition(b"\n")[0]
    if _is_json(line):
        raise UnsupportedFormat(
            "the file is named as JSON, and its first line is a text or number alone; each row must be an object: "
            '{"text": "..."}'
        )
    looks = "; it looks like CSV: name it .csv or .tsv" if any(sign in line for sign in _CELL_SIGNS) else ""
    raise UnsupportedFormat(
        f"the file is named as JSON, but its first line is not valid JSON: it does not begin with '{{' or '['{looks}"
    )


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:  # also of text that is not UTF-8
        return False
    return True


def _sniff(head: bytes) -> Format:
    line = head.removeprefix(_BOM).lstrip().partition(b"\n")[0]
    if line.startswith((b"{", b"[")):
        return Format.JSONL
    if b"\0" not in head and any(sign in line for sign in _CELL_SIGNS):
        return Format.CSV
    if b"\0" in head or not line.strip():
        looks = ""
    elif looks_aligned(line):
        looks = "; it looks like columns of fixed width: put commas or tabs between the cells"
    else:
        looks = "; if it is a list of texts, one a line, put the line 'text' above them and name it .csv"
    raise UnsupportedFormat(
        f"the data set's format was not recognized; send JSON lines, CSV or Parquet, under a name that ends so{looks}"
    )
