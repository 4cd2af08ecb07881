"""Parses JSON strictly: refuses values that the service could not store and return unchanged."""

import json
import re
from typing import Any

import orjson

MAX_DEPTH = 64  # levels of nested lists and objects
_MAX_DIGITS = 18  # an integer with at most this many digits fits 64 bits
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (_MAX_DIGITS + 1))
_KEY = re.compile(rb'"\s*:')
_SLIPS = (  # what people write in place of JSON, with what to do
    (
        re.compile("'"),
        "names and texts stand in double quotes, not single ones; Python writes them by json.dumps",
    ),
    (re.compile(r"(?:True|False|None)\b"), "write true, false and null, as Python does by json.dumps"),
    (re.compile(r",\s*\Z"), "no comma stands behind an object; remove it"),
    (re.compile(r"//|/\*|#"), "there are no comments in JSON; remove it"),
)
_NOT_A_NUMBER = re.compile(r"-?(NaN|Infinity)")


class BadJson(ValueError):
    """The text is not JSON, or contains a value that the service cannot store unchanged."""


def parse(raw: bytes) -> Any:
    """Parse a JSON text. Raises BadJson.

    Besides invalid JSON it refuses: numbers out of range (an integer beyond 64 bits would
    silently become a float), NUL characters (Postgres cannot store them), lone surrogates,
    repeated keys, and deep nesting.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadJson(_explain(error, raw)) from error
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
        raise BadJson(f"the key {repeated!r} is given more than once")
    return fields


def _in_range(digits: str) -> int:
    if len(digits) > _MAX_DIGITS + 2 or not -(2**63) <= int(digits) < 2**63:
        raise BadJson(f"the integer {digits[:40]} is beyond 64 bits; write it as text to keep it as it is")
    return int(digits)


def _explain(error: orjson.JSONDecodeError, raw: bytes) -> str:
    text = raw.decode("utf-8", errors="replace")
    if not is_utf8(raw):
        return "not valid UTF-8"
    if _NOT_A_NUMBER.match(text, error.pos):
        return "NaN and Infinity are not JSON; write null or text"
    if "surrogate" in error.msg:
        return "half of a surrogate pair, which is not a character"
    rest = text[error.pos :]
    message = next((message for pattern, message in _SLIPS if pattern.match(rest)), error.msg)
    return f"not valid JSON: {message} (character {error.pos + 1})"


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
