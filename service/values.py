"""Cell values (as text, blank, missing), spellings of labels, similar names; counts and faulty ports in messages."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

_INVISIBLE = ("Cc", "Cf")  # controls and format characters, such as the zero-width space and the byte order mark
_MISSING = (  # words of spreadsheets, databases, pandas and R, in lower case
    frozenset({"na", "n/a", "n.a.", "#n/a", "#n/a n/a", "#na", "<na>", "nan", "-nan", "nat", "null", "none", "nil"})
    | {"\\n", "missing", "unknown", "undefined", "not available", "not applicable", "no data", "(blank)", "(empty)"}
    | {"(null)", "<null>", "[null]", "(none)", "<none>", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "#null!", "#ref!"}
    | {"#value!", "#name?", "#div/0!", "#num!", "-", "--", "---", "\u2013", "\u2014", "?", "??", "???", ".", "..."}
    | {"\u2026"}
)
LAST_PORT = 65535
_LONGEST_PORT, _SHOWN_CHARACTERS = 5, 20
_BEHIND_HOST = re.compile(r"[/?#]")
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # letters and marks by category, of which nothing shows


def as_text(value: Any) -> str:
    """A JSON value as people write it: text as it is, true as "True", 3.0 as "3.0"."""
    return value if isinstance(value, str) else str(value)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, as in "1 row" and "2 rows"; `plural` is for nouns that take more than an s."""
    return f"{number} {by_number(number, noun, plural or noun + 's')}"


def by_number(number: int, one: str, many: str) -> str:
    """The word that fits the number, such as "is" or "are"."""
    return one if number == 1 else many


def is_blank(value: Any) -> bool:
    """Whether the value shows nothing: null, or text of white space and invisible characters alone.

    CSV has no null, so an empty cell is the same there as null elsewhere.
    """
    if not isinstance(value, str):
        return value is None
    return all(
        character.isspace() or character in _FILLERS or unicodedata.category(character) in _INVISIBLE
        for character in value
    )


def without_blank_end(text: str) -> str:
    """The text without white space and invisible characters at its end."""
    end = len(text)
    while end and is_blank(text[end - 1]):
        end -= 1
    return text[:end]


def spellings_of(label: str) -> list[str]:
    """The label unchanged, in lower case, in upper case and capitalized: first with a leading space, then without."""
    cases = dict.fromkeys((label, label.lower(), label.upper(), label.capitalize()))
    return [*(f" {spelling}" for spelling in cases), *cases]


def further_spellings(labels: Sequence[str], *, all_spellings: bool) -> list[list[str]]:
    """For each label, its further spellings if all spellings count; else an empty list."""
    return [spellings_of(label)[1:] for label in labels] if all_spellings else []


def says_missing(value: Any) -> bool:
    """Whether a cell holds a word by which programs write a missing value, such as R's NA."""
    return isinstance(value, str) and value.strip().casefold() in _MISSING


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """The most similar of `names`, whatever its case; an empty list if none is similar."""
    by_fold = {known.casefold().strip(): known for known in names}
    return [by_fold[fold] for fold in get_close_matches(name.casefold().strip(), by_fold, 1)]


def port_fault(url: str) -> str | None:
    """What is wrong with the port of a URL, for a message behind the URL's name; None if nothing is."""
    authority, *path = _BEHIND_HOST.split(url.partition("://")[2], maxsplit=1)
    host = authority.rpartition("@")[2]
    _, _, port = host.rpartition("]")[2].rpartition(":")  # in brackets stand addresses with colons of their own
    if ":" not in host.rpartition("]")[2] or not port:
        return None
    if port.isascii() and port.isdigit() and len(port) <= _LONGEST_PORT and 0 < int(port) <= LAST_PORT:
        return None
    is_secret = any("@" in part for part in path)  # a password with a slash: what looks like the port is its beginning
    shown = "something else in the place of the port" if is_secret else f"the port {port[:_SHOWN_CHARACTERS]!r}"
    return f"has {shown}; a port is a number from 1 to {LAST_PORT}"
