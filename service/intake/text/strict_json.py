"""Parses JSON strictly: refuses values that the service could not store and return unchanged."""

import json
import re
from typing import Any

import orjson

MAX_DEPTH = 64  # levels of nested lists and objects
_MAX_DIGITS = 18  # an integer with at most this many digits fits 64 bits
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (_MAX_DIGITS + 1))
_KEY = re.compile(rb'"\s*:')
_SLIPS = (  # common mistakes, each with its remedy
    (
        re.compile("'"),
        "names and texts stand in double quotes, not single ones; Python writes them by json.dumps",
    ),
    (re.compile(r"(?:True|False|None)\b"), "write true, false and null, as Python does by json.dumps"),
    (re.compile(r",\s*\Z"), "a comma stands behind the object; remove it"),
    (re.compile("\ufeff"), "a byte order mark stands there, as where files were joined; remove it"),
    (re.compile(r"\{"), "another object begins there; write one object a line"),
    (re.compile(r"//|/\*|#"), "there are no comments in JSON; remove it"),
)
_PLAIN_WORDS = {  # for messages of orjson, by a phrase of each
    "trailing comma": "a comma stands before a closing bracket; remove it",
    "unexpected end of data": "the text ends, or a line breaks, before the object is closed; is the file cut off?",
    "expected a string key": "names of fields stand in double quotes",
    "unexpected control character": r"a control character stands in a text; write a line break as \n, a tab as \t",
    "invalid escaped sequence": "a backslash in a text is written twice",
    "expected a JSON value": "a value is missing there, or a text without double quotes",
    "invalid literal": "texts stand in double quotes; without them only numbers, true, false and null may stand",
    "zero-length": "there is nothing in it",
    "depth limit": f"more than {MAX_DEPTH} lists and objects inside each other",
}
_NOT_A_NUMBER = re.compile(r"-?(NaN|Infinity)")
_NAME_BEFORE = re.compile(r'"([^"\\]{1,500})"\s*:\s*\Z')


class BadJson(ValueError):
    """The text is not JSON, or contains a value that the service cannot store unchanged.

    `slip` is the message without the details of this line, for a mistake that a program may have made in every line.
    """

    def __init__(self, message: str, slip: str | None = None) -> None:
        super().__init__(message)
        self.slip = slip


class NotANumber(BadJson):
    """The text has NaN or Infinity for a value."""


def parse(raw: bytes) -> Any:
    """Parse a JSON text. Raises BadJson.

    Besides invalid JSON it refuses: numbers out of range (an integer beyond 64 bits would
    silently become a float), NUL characters (Postgres cannot store them), lone surrogates,
    repeated keys, and deep nesting.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _explained(error, raw) from error
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise BadJson(f"more than {MAX_DEPTH} lists and objects inside each other")
    if b"\\u0000" in raw and _has_nul(value):
        raise BadJson("a NUL character (\\u0000), which cannot be stored")
    keys = len(value) if isinstance(value, dict) else 0
    if len(_KEY.findall(raw)) != keys or _LONG_NUMBER.search(raw):
        _read_slowly(raw)
    return value


def _read_slowly(raw: bytes) -> None:
    """Check every key and integer in the text, which orjson's result no longer shows."""
    json.loads(raw, object_pairs_hook=_without_repeats, parse_int=_in_range)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in fields if names.count(name) > 1)
        raise BadJson(f"the key {repeated!r} is given more than once", "a key is given more than once")
    return fields


def _in_range(digits: str) -> int:
    if len(digits) > _MAX_DIGITS + 2 or not -(2**63) <= int(digits) < 2**63:
        message = f"the integer {digits[:40]} is beyond 64 bits; write it as text to keep it as it is"
        raise BadJson(message, "an integer is beyond 64 bits")
    return int(digits)


def _explained(error: orjson.JSONDecodeError, raw: bytes) -> BadJson:
    text = raw.decode("utf-8", errors="replace")
    if not is_utf8(raw):
        return BadJson("not valid UTF-8")
    if (number := _NOT_A_NUMBER.match(text, error.pos)) is not None:
        name = _NAME_BEFORE.search(text, 0, error.pos)
        where = f"the field {name[1]!r} is {number[0]}; " if name else ""
        return NotANumber(f"{where}NaN and Infinity are not JSON; write null or text")
    if "surrogate" in error.msg:
        return BadJson("half of a surrogate pair, which is not a character")
    rest = text[error.pos :]
    slip = next((message for pattern, message in _SLIPS if pattern.match(rest)), None)
    message = slip or next((words for phrase, words in _PLAIN_WORDS.items() if phrase in error.msg), error.msg)
    return BadJson(f"not valid JSON: {message} (character {error.pos + 1})", message)


def is_utf8(raw: bytes) -> bool:
    """Whether the bytes are valid UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _depth(value: Any) -> int:
    """The nesting depth, computed level by level; orjson has already limited it."""
    depth, level = 0, [value]
    while level := [inner for outer in level for inner in _members(outer)]:
        depth += 1
    return depth


def _members(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict) and any("\0" in key for key in value):
        return True
    return any(_has_nul(inner) for inner in _members(value))
