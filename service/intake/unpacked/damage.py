"""Says in plain words what is wrong with a Parquet file or workbook that its library cannot read, and what to do."""

import io
import zipfile
from typing import IO

import pyarrow as pa

_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"  # the first and the last four bytes of a Parquet file
_TEXT_BYTES = 512
_FETCH_AGAIN = "fetch or write it again, as a whole"


def unreadable(file: IO[bytes], form: str, error: Exception) -> str:
    """The fault of a file of this form, Parquet or Excel, whose reader has raised this error."""
    try:
        why = _of_workbook(file) if form == "Excel" else _of_parquet(file, error)
    except Exception:  # noqa: BLE001 - a malicious file may raise any error in the zip library, too
        why = f"its content is damaged; {_FETCH_AGAIN}"
    return f"the file is not readable as {form}: {why}"


def _of_parquet(file: IO[bytes], error: Exception) -> str:
    first, last = _ends(file)
    if first.startswith(_ENCRYPTED) or last == _ENCRYPTED:
        return "it is encrypted; write it without encryption"
    if not first.startswith(_MAGIC):
        return _no_parquet(first)
    if last != _MAGIC:
        return f"it is cut off, since the index at its end is missing; {_FETCH_AGAIN}"
    if isinstance(error, pa.ArrowNotImplementedError):
        return "it has a compression or an encoding that is not read here; write it with snappy, gzip or zstd"
    return f"its content is damaged and does not fit its index; {_FETCH_AGAIN}"


def _no_parquet(first: bytes) -> str:
    """What a file looks like that lacks the mark of Parquet at its beginning."""
    if not first:
        return "it is empty"
    if first.startswith((b"{", b"[")):
        return "it looks like JSON; name it .jsonl"
    if _is_text(first):
        return "it is plain text; name it after its format, such as .csv or .jsonl"
    return f"it does not begin as Parquet does, so it has another format or is damaged; {_FETCH_AGAIN}"


def _is_text(first: bytes) -> bool:
    text = first[: first.rfind(b"\n") + 1] or first  # a character at the end may be cut
    return b"\0" not in text and all(byte >= 32 or byte in b"\t\r\n" for byte in text)


def _ends(file: IO[bytes]) -> tuple[bytes, bytes]:
    """The first bytes of a file and its last four."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - len(_MAGIC)))
    last = file.read(len(_MAGIC))
    file.seek(0)
    return file.read(_TEXT_BYTES), last


def _of_workbook(file: IO[bytes]) -> str:
    save = "open it in a spreadsheet program and save it again, or send the sheet as CSV"
    file.seek(0)
    try:
        names = zipfile.ZipFile(file).namelist()
    except zipfile.BadZipFile:
        return f"it is cut off or damaged, since the index of its zip archive is missing; {_FETCH_AGAIN}"
    if not any(name.startswith("xl/workbook") for name in names):
        what = next((kind for part, kind in _KINDS.items() if any(name.startswith(part) for name in names)), None)
        return f"it is {what or 'a zip archive without a workbook'}; save the sheet as .xlsx or CSV"
    return f"its content is damaged; {save}"


_KINDS = {
    "word/": "a Word document",
    "ppt/": "a PowerPoint presentation",
    "Index/": "a Numbers document",
    "content.xml": "an OpenDocument file",
}
