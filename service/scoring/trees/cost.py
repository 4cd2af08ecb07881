"""Adds up the cost of a tree's calls, by the server's own counts or for an ideal prefix cache."""

from dataclasses import dataclass

from service.scoring.tokenization.encoding import Encoder
from service.scoring.tokenization.labels import LabelCall
from service.scoring.trees.flat_tree import FlatTree
from service.scoring.wires.wire import NextToken
from service.search.predictions.prompt_tree import Usage


@dataclass(slots=True)
class _LeafCost:
    requests: int = 0
    label_tokens_sent: int = 0  # label tokens behind the prompt, in all requests
    label_tokens_new: int = 0  # each non-empty prefix sent adds one token that no shorter prefix has


class CostTally:
    """Adds up the cost of one tree. Every request counts, also repeated ones that ask for more alternatives."""

    def __init__(self, flat_tree: FlatTree) -> None:
        self._tree = flat_tree
        self._leaves = [_LeafCost() for _ in flat_tree.leaves]
        self._tokens_sent = 0
        self._tokens_computed = 0
        self._says_sent = True
        self._says_computed = True

    def add(self, leaf: int, call: LabelCall, answer: NextToken) -> None:
        """Count a call for this leaf."""
        cost = self._leaves[leaf]
        cost.requests += answer.requests
        cost.label_tokens_sent += answer.requests * len(call.ids)
        cost.label_tokens_new += bool(call.ids)
        self._tokens_sent += answer.tokens_sent or 0
        self._tokens_computed += answer.tokens_computed or 0
        self._says_sent = self._says_sent and answer.tokens_sent is not None
        self._says_computed = self._says_computed and answer.tokens_computed is not None

    async def usage(self, encoder: Encoder) -> Usage:
        """The cost of the tree; modelled if the server did not report it for every call. Raises BackendError."""
        requests = sum(leaf.requests for leaf in self._leaves)
        if self._says_sent and self._says_computed:
            return Usage(requests, self._tokens_sent, self._tokens_computed)
        sent, computed = await self._modelled(encoder)
        return Usage(
            requests,
            self._tokens_sent if self._says_sent else sent,
            self._tokens_computed if self._says_computed else computed,
            modelled=True,
        )

    async def _modelled(self, encoder: Encoder) -> tuple[int, int]:
        """Tokens sent and computed if the server computes every segment and every query exactly once."""
        segments = await encoder.count([segment.text for segment in self._tree.segments])
        queries = await encoder.count([leaf.text for leaf in self._tree.leaves])
        special = len(await encoder.beginning())
        before: list[int] = []
        for segment, length in zip(self._tree.segments, segments, strict=True):
            before.append(length + (special if segment.parent is None else before[segment.parent]))
        sent = sum(
            cost.requests * (before[leaf.segment] + query) + cost.label_tokens_sent
            for leaf, query, cost in zip(self._tree.leaves, queries, self._leaves, strict=True)
        )
        labels = sum(cost.label_tokens_new for cost in self._leaves)
        return sent, special + sum(segments) + sum(queries) + labels
