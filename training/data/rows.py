"""Read and check the rows of a JSONL file, and name the line at fault."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.errors import Refused

Fields = Mapping[str, tuple[type, ...]]  # allowed types of a field's value, by name
EXAMPLES = "examples"  # the field of the specification that names the file with labelled rows


def read_rows(path: Path, wanted: Fields, optional: Fields, of: str = EXAMPLES) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every row with its line number, from 1, without empty lines.

    `of` is the field of the specification that names the file. Raises Refused.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for line, text in enumerate(file, 1):
                if text.strip():
                    yield line, _checked(line, text, {**wanted, **optional}, wanted, of)
    except OSError as error:
        raise Refused(f"{of}: {str(path)!r} cannot be read: {(error.strerror or 'unreadable').lower()}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{of}: {str(path)!r} is not UTF-8 text") from error


def refused(line: int, what: str, of: str = EXAMPLES) -> Refused:
    """A fault of the row on a line of a file."""
    return Refused(f"{of}, line {line}: {what}")


def digest(seen: Iterable[Sequence[Any]]) -> str:
    """SHA-256 over the values of all rows that a training may see."""
    return hashlib.sha256(json.dumps(list(seen)).encode()).hexdigest()


def group_of(line: int, row: Mapping[str, Any]) -> str:
    """The group that a row stays together with; a row without one is a group that no file can name."""
    group: str = row.get("group", f"\0{line}")
    return group


def weight_of(line: int, row: Mapping[str, Any]) -> float:
    """A row's weight, by default 1. Raises Refused outside 0 to 1."""
    weight = row.get("weight", 1.0)
    if not 0 <= weight <= 1:
        raise refused(line, f"weight: {weight!r} is not a number from 0 to 1")
    return float(weight)


def _checked(line: int, text: str, known: Fields, wanted: Iterable[str], of: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise refused(line, "is not JSON; each line must hold one JSON object", of) from error
    if not isinstance(row, dict):
        raise refused(line, "is no JSON object", of)
    for name in wanted:
        if name not in row:
            raise refused(line, f"{name}: is missing", of)
    for name, value in row.items():
        if name not in known:
            raise refused(line, f"{name}: there is no such field; the fields are {', '.join(known)}", of)
        if not isinstance(value, known[name]) or (isinstance(value, bool) and bool not in known[name]):
            raise refused(line, f"{name}: must be {_kind(known[name])}, not {json.dumps(value)[:60]}", of)
        if isinstance(value, str) and not _is_text(value):
            raise refused(line, f"{name}: has half a surrogate pair (\\ud800 to \\udfff), which is no character", of)
    return row


def _is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _kind(types: tuple[type, ...]) -> str:
    return {str: "a text", bool: "true or false"}.get(types[0], "a number")
