"""Score a prompt tree: build the scheduler's requests, and compute the labels' log-probabilities from its answers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from inference.batching.generation import Generation, GenerationRequest
from inference.errors import InvalidRequest
from inference.label_tokens import LabelIds
from inference.tree_prompts import QueryTokens

PIECE_TOKENS = 1 << 20  # of prompts held as arrays at once: about a batch of the scheduler


@dataclass(slots=True)
class TreeAnswer:
    """A row of log-probabilities in nats for each query, one for each label, and their cost.

    `prompts` and `tokens_sent` count one request for each query and each beginning that labels
    of several tokens share; `tokens_computed` counts tokens outside the prefix cache.
    """

    log_probabilities: list[list[float]] = field(default_factory=list)
    prompts: int = 0
    tokens_sent: int = 0
    tokens_computed: int = 0


def check_lengths(queries: Sequence[QueryTokens], most_tokens: int) -> None:
    """Raise InvalidRequest for a prompt that is empty or, with its labels, too long."""
    for number, query in enumerate(queries):
        tokens = query.length + max(map(len, query.labels)) - 1
        if tokens > most_tokens:
            raise InvalidRequest(
                f"the prompt of query {number} has {query.length} tokens, {tokens} with what must be read of its "
                f"labels; at most {most_tokens} fit"
            )
        if not query.length:
            raise InvalidRequest(f"the prompt of query {number} has no tokens")


def pieces(queries: Sequence[QueryTokens]) -> Iterator[Sequence[QueryTokens]]:
    """The queries in runs of about PIECE_TOKENS, so that few prompts are held at once."""
    start = tokens = 0
    for number, query in enumerate(queries):
        tokens += query.length * len(_beginnings(query.labels))
        if tokens >= PIECE_TOKENS:
            yield queries[start : number + 1]
            start, tokens = number + 1, 0
    if start < len(queries):
        yield queries[start:]


def requests_of(query: QueryTokens) -> list[GenerationRequest]:
    """One request for each beginning that labels share: the scores of the tokens that follow it."""
    prompt = query.prompt()
    return [
        GenerationRequest(
            prompt=np.concatenate([prompt, np.array(beginning, np.int32)]), max_new_tokens=0, token_ids=following
        )
        for beginning, following in _beginnings(query.labels).items()
    ]


def collect(answer: TreeAnswer, queries: Sequence[QueryTokens], generations: Sequence[Generation]) -> None:
    """Add the answers to these queries: the generations of each query's requests, one query after another."""
    left = iter(generations)
    for query in queries:
        known: dict[LabelIds, float] = {}  # of a beginning's last token, given those before it
        beginnings = _beginnings(query.labels)
        for beginning, generation in zip(beginnings, islice(left, len(beginnings)), strict=True):
            for token, score in zip(generation.request.token_ids, generation.scores, strict=True):
                known[*beginning, token] = score
            answer.prompts += 1
            answer.tokens_sent += len(generation.request.prompt)
            answer.tokens_computed += generation.computed_tokens
        answer.log_probabilities.append(_by_label(query.labels, known))


def _beginnings(labels: Iterable[LabelIds]) -> dict[LabelIds, tuple[int, ...]]:
    """Every shared beginning of labels, the empty one first, with the tokens after it in some label."""
    following: dict[LabelIds, dict[int, None]] = {}
    for label in labels:
        for depth, token in enumerate(label):
            following.setdefault(label[:depth], {})[token] = None
    return {beginning: tuple(tokens) for beginning, tokens in following.items()}


def _by_label(labels: Mapping[LabelIds, int], known: dict[LabelIds, float]) -> list[float]:
    """The logarithm of the sum of the probabilities of a label's spellings, for one label after another."""
    spelled: dict[int, list[float]] = {}
    for ids, label in labels.items():
        spelled.setdefault(label, []).append(_chain(ids, known))
    return [
        values[0] if len(values) == 1 else float(np.logaddexp.reduce(values)) for _, values in sorted(spelled.items())
    ]


def _chain(label: LabelIds, known: dict[LabelIds, float]) -> float:
    """Chain rule: the sum over a label's tokens of log p(token | prompt and the tokens before)."""
    return sum(known[label[: depth + 1]] for depth in range(len(label)))
