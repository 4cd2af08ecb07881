"""Convert rows to JSON lines; errors name row and column of a value without a JSON form."""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from icm.errors import UnsendableData

_SHOWN_ROWS = 3  # at fault for one cause
_SHOWN_CAUSES = 10


def lines_of(rows: Iterable[Any]) -> Iterator[bytes]:
    """Yield each row as a line; converts NumPy's numbers and arrays.

    Raises UnsendableData, at the first row that cannot be sent; it names this and all further rows at fault by cause.
    """
    numbered = enumerate(rows, 1)
    for number, row in numbered:
        try:
            yield _line(row)
        except (TypeError, ValueError, RecursionError) as error:
            raise _all_at_fault(itertools.chain([(number, row)], numbered)) from error


def _line(row: Any) -> bytes:
    """The row as a line. Raises TypeError, ValueError and RecursionError."""
    if not isinstance(row, Mapping):
        raise TypeError(type(row).__name__)
    fields = row if isinstance(row, dict) else dict(row)
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, default=_plain).encode() + b"\n"


def _all_at_fault(numbered: Iterable[tuple[int, Any]]) -> UnsendableData:
    """The error about every row that cannot be sent: it names a shared cause once, with the first of its rows."""
    rows_of: dict[tuple[object, str], list[int]] = {}
    for number, row in numbered:
        for cause in _causes(row):
            rows_of.setdefault(cause, []).append(number)
    told = [f"{_rows_at_fault(rows)}{_where(column, rows)}{problem}" for (column, problem), rows in rows_of.items()]
    more = [f"and {len(told) - _SHOWN_CAUSES} more causes"] if len(told) > _SHOWN_CAUSES else []
    return UnsendableData("; ".join(told[:_SHOWN_CAUSES] + more))


def _causes(row: Any) -> Iterator[tuple[object, str]]:
    """Each faulty column of the row with what is wrong, None for the row itself; nothing if the row can be sent."""
    try:
        _line(row)
    except (TypeError, ValueError, RecursionError) as error:
        if not isinstance(row, Mapping):
            yield None, f"of type {type(row).__name__}; give a dict of columns and values"
            return
        found = [(column, told) for column, value in row.items() if (told := _problem(value))]
        yield from found or [(None, f"not a row: {error}")]


def _where(column: object, rows: Sequence[int]) -> str:
    return f", column {column!r}: " if column is not None else " is " if len(rows) == 1 else " are "


def _rows_at_fault(numbers: Sequence[int]) -> str:
    """The rows in words, such as "row 2" or "rows 2, 3, 5 and 7 more"."""
    first, more = ", ".join(map(str, numbers[:_SHOWN_ROWS])), len(numbers) - _SHOWN_ROWS
    return f"{'row' if len(numbers) == 1 else 'rows'} {first}" + (f" and {more} more" if more > 0 else "")


def settings_text(settings: Mapping[str, Any]) -> str:
    """A configuration, or the body of a request, as JSON; converts NumPy's numbers.

    Raises UnsendableData, which names the field. NaN passes, since the service refuses it by its field.
    """
    try:
        return json.dumps(settings, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnsendableData(_setting_at_fault(settings, "")) from error


def _setting_at_fault(settings: Mapping[Any, Any], path: str) -> str:
    """Name the innermost faulty field, such as task.labels, and what is wrong with it."""
    for name, value in settings.items():
        if (problem := _problem(value)) is not None:
            field = f"{path}{name}"
            inner = isinstance(value, Mapping) and "without end" not in problem
            return _setting_at_fault(value, f"{field}.") if inner else f"field {field}: {problem}"
    return f"{f'field {path[:-1]}' if path else 'the configuration'}: names of fields must be text"


def _plain(value: Any) -> Any:
    """Convert NumPy's numbers and arrays, and other values with `tolist`. Raises TypeError."""
    if callable(convert := getattr(value, "tolist", None)):
        return convert()
    raise TypeError(type(value).__name__)


def _problem(value: Any) -> str | None:
    """The fault of a value, if the client cannot send it."""
    try:
        return None if _is_sendable(value) else _unsendable(_innermost(value))
    except RecursionError:
        return "lists and objects inside each other without end; leave them out"


def _is_sendable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain).encode()
    except (TypeError, ValueError):
        return False
    return True


def _innermost(value: Any) -> Any:
    """The innermost faulty part of a value."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return next((_innermost(part) for part in inner if not _is_sendable(part)), value)


def _unsendable(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, str):
        return "the text holds half a surrogate pair, which is no character; repair it where it was decoded"
    if isinstance(value, float):
        return f"{_number(value)} is no value that can be labelled; use None where a value is missing"
    if kind in {"NaTType", "NAType"}:
        return f"{value} stands for a missing value; use None"
    if hasattr(value, "isoformat"):
        return f"JSON has no form for values of type {kind}; write it as text, such as value.isoformat()"
    if hasattr(value, "tolist"):
        return f"the {kind} holds values that JSON has no form for; use None for NaN and text for dates"
    return f"JSON has no form for values of type {kind}; convert it to text, a number, a list or a dict"


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else "infinity"
