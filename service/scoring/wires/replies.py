"""Reads and checks values in the replies of inference servers; a missing or wrong value becomes an error."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from service.errors import BackendRefused, BackendUnavailable, FailureKind, LabelUnreachable
from service.scoring.wires.wire import NextToken

_PROBABILITIES_SUM_TO = 1.01  # upper bound of a sum of probabilities, with a server's rounding errors
# JSON has no infinity: vLLM writes -9999 for the logarithm of 0, llama.cpp the lowest float. No language model gives a
# token so little that it can say at all.
IMPOSSIBLE_NATS = -9999.0


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Translate errors while reading the answer of this path to BackendUnavailable: the answer is malformed."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        message = f"{path} gave an answer that cannot be read: {_fault(error)}"
        raise BackendUnavailable(message, kind=FailureKind.MALFORMED) from error


def _fault(error: Exception) -> str:
    """The fault of an answer, without Python's words."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return str(error) if type(error) is ValueError else "a part of it is missing or of another kind than agreed"


def count(value: object) -> int:
    """Check a number of tokens, or a token's id. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def log_probability(value: object) -> float:
    """Check a log-probability, nats; one at or below IMPOSSIBLE_NATS is minus infinity. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value) or value == math.inf:
        raise ValueError(f"{value!r} is no log-probability")
    return -math.inf if value <= IMPOSSIBLE_NATS else float(value)


def text_or_none(value: object) -> str | None:
    """The value if it is a non-empty text, otherwise None."""
    return value if isinstance(value, str) and value else None


def positive_or_none(value: object) -> int | None:
    """The value if it is a positive integer, otherwise None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def check_not_truncated(given: int, read: int | None) -> None:
    """Raises BackendRefused if the server read another number of tokens than it was given: it truncates prompts."""
    if read != given:
        raise BackendRefused(f"the server was given {given} tokens and read {read}: it must not cut prompts")


def computed_tokens(sent: int, cached: object) -> int | None:
    """The tokens not found in the prefix cache; None if the server does not report it. Raises ValueError."""
    if cached is None:
        return None
    if count(cached) > sent:
        raise ValueError(f"{cached} cached tokens of {sent}")
    return sent - count(cached)


def combined(answers: Sequence[NextToken]) -> NextToken:
    """The last of the answers to several requests, with the cost of all."""
    return replace(
        answers[-1],
        tokens_sent=_total(answer.tokens_sent for answer in answers),
        tokens_computed=_total(answer.tokens_computed for answer in answers),
        requests=sum(answer.requests for answer in answers),
    )


def _total(counts: Iterable[int | None]) -> int | None:
    """The sum; None if a count is unknown."""
    known = list(counts)
    return None if None in known else sum(filter(None, known))


def check_one_distribution(values: Iterable[float]) -> None:
    """Raises BackendRefused if the probabilities of different tokens sum to more than 1."""
    if sum(math.exp(min(value, 1.0)) for value in values) > _PROBABILITIES_SUM_TO:
        raise BackendRefused("the server's log-probabilities are not those of the whole vocabulary: they sum to over 1")


def checked(answer: NextToken, wanted: Iterable[int]) -> NextToken:
    """Check that every wanted token has a score. Raises LabelUnreachable, BackendRefused, BackendUnavailable."""
    by_id = answer.by_id
    for token in wanted:
        if by_id.get(token, -math.inf) == -math.inf:
            why = "the language model considers it impossible" if token in by_id else "the server left it out"
            raise LabelUnreachable(f"no log-probability for token {token}: {why}")
    known = {token: value for token, value in by_id.items() if value > -math.inf}
    if not known:
        raise BackendUnavailable("the server gave no log-probability at all", kind=FailureKind.MALFORMED)
    check_one_distribution(known.values())
    return replace(answer, by_id=known)


def token_ids(values: Any) -> list[int]:
    """Check a list of token ids. Raises ValueError, TypeError."""
    if not isinstance(values, list):
        raise TypeError(f"{type(values).__name__} in place of a list of token ids")
    return [count(value) for value in values]
