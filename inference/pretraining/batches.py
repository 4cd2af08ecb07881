"""Draw the documents of a training step and lay them out in tensors, one a row, grouped by length."""

from collections.abc import Callable, Iterator, Sequence

import torch
from transformers import PreTrainedTokenizerFast

_LEAST_TOKENS = 1024  # of a group: smaller ones cost more in calls than in padding
_LIKE_LENGTH = 0.85  # a document shorter than this share of its group's longest begins another group


def draw_step(draw: Callable[[], str], tokenizer: PreTrainedTokenizerFast, *, tokens: int, cut: int) -> list[list[int]]:
    """Draw documents, cut to `cut` tokens, until they have `tokens` tokens together; each begins with BOS."""
    documents: list[list[int]] = []
    read = 0
    while read < tokens:
        documents.append(tokenizer.encode(draw())[:cut])
        read += len(documents[-1])
    return documents


def in_groups(documents: Sequence[Sequence[int]], *, most_tokens: int, padding: int) -> Iterator[torch.Tensor]:
    """Yield token ids of shape (documents, longest of them), longest documents first, padded at the end.

    No two documents share a row, so the model need not learn to ignore the previous one, and
    plain causal attention suffices, which is faster than a mask.
    """
    group: list[Sequence[int]] = []
    for document in sorted(documents, key=len, reverse=True):
        if group and _is_full(group, document, most_tokens):
            yield _padded(group, padding)
            group = []
        group.append(document)
    if group:
        yield _padded(group, padding)


def _is_full(group: Sequence[Sequence[int]], document: Sequence[int], most_tokens: int) -> bool:
    longest, rows = len(group[0]), len(group)
    unlike = len(document) < _LIKE_LENGTH * longest and longest * rows >= _LEAST_TOKENS
    return unlike or longest * (rows + 1) > most_tokens


def _padded(group: Sequence[Sequence[int]], padding: int) -> torch.Tensor:
    longest = len(group[0])
    return torch.tensor([[*document, *[padding] * (longest - len(document))] for document in group])
