"""Reads replies of inference servers: what is in them, or an error; nothing is made up."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from service.errors import BackendRefused, BackendUnavailable, FailureKind, LabelUnreachable
from service.scoring.wires.wire import NextToken

_PROBABILITIES_SUM_TO = 1.01  # at most, in the arithmetic of a server


@dataclass(frozen=True, slots=True)
class Completion:
    """One call's answer: log-probabilities (nats) by token, none where the server withholds them, and counts of tokens.

    `computed` is None where the server does not tell tokens found in its prefix cache.
    """

    by_id: Mapping[int, float]
    sent: int
    computed: int | None


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Reads the answer of this path; raises BackendUnavailable where it has another form than the server's kind has."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        message = f"{path} gave an answer that cannot be read: {error!r}"
        raise BackendUnavailable(message, kind=FailureKind.MALFORMED) from error


def count(value: object) -> int:
    """A number of tokens, or a token's id. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def log_probability(value: object, *, floor: float = -math.inf) -> float:
    """In nats; minus infinity at or below the floor, a server's own sign of it. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value) or value == math.inf:
        raise ValueError(f"{value!r} is no log-probability")
    return -math.inf if value <= floor else float(value)


def text_or_none(value: object) -> str | None:
    """What a server says of itself, where it is a text and not empty."""
    return value if isinstance(value, str) and value else None


def positive_or_none(value: object) -> int | None:
    """What a server says of itself, where it is a positive whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def sent_whole(given: int, read: int) -> None:
    """Raises BackendRefused where the server read another number of tokens than it was given: it truncates."""
    if read != given:
        raise BackendRefused(f"the server was given {given} tokens and read {read}: it must not cut prompts")


def computed_tokens(sent: int, cached: object) -> int | None:
    """Tokens that were not found in the prefix cache; None where the server does not tell. Raises ValueError."""
    if cached is None:
        return None
    if count(cached) > sent:
        raise ValueError(f"{cached} cached tokens of {sent}")
    return sent - count(cached)


def of_one_distribution(values: Iterable[float]) -> None:
    """Raises BackendRefused where the probabilities of different tokens sum to more than 1."""
    if sum(math.exp(min(value, 1.0)) for value in values) > _PROBABILITIES_SUM_TO:
        raise BackendRefused("the server's log-probabilities are not those of the whole vocabulary: they sum to over 1")


def next_token(
    by_id: Mapping[int, float],
    wanted: Iterable[int],
    *,
    sent: int | None = None,
    computed: int | None = None,
    requests: int = 1,
) -> NextToken:
    """An answer with a number for every wanted token. Raises LabelUnreachable, BackendRefused, BackendUnavailable."""
    for token in wanted:
        if by_id.get(token, -math.inf) == -math.inf:
            why = "the language model holds it for impossible" if token in by_id else "the server left it out"
            raise LabelUnreachable(f"no log-probability for token {token}: {why}")
    known = {token: value for token, value in by_id.items() if value > -math.inf}
    if not known:
        raise BackendUnavailable("the server gave no log-probability at all", kind=FailureKind.MALFORMED)
    of_one_distribution(known.values())
    return NextToken(known, sent, computed, requests=requests)


def token_ids(values: Any) -> list[int]:
    """A list of token ids. Raises ValueError, TypeError."""
    if not isinstance(values, list):
        raise TypeError(f"{type(values).__name__} in place of a list of token ids")
    return [count(value) for value in values]
