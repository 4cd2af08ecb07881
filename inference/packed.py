"""Scores prompts with a prefix cache: walks the trie of a batch depth first and computes every shared run once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from inference.key_values import PooledKeyValues
from inference.language_model import LanguageModel
from inference.packing import Branch, SortedPrompts, pack_branches, pack_run
from inference.prefix_cache import Node, PrefixCache, Slots, Tokens


@dataclass(frozen=True, slots=True)
class NextToken:
    """What may follow a prompt.

    `log_probabilities` has shape (vocabulary,), in nats. `computed` counts the prompt's
    tokens that ran through the language model; what several prompts share is charged to
    the first of them in token order, so that the sum over a batch is what was computed.
    """

    log_probabilities: torch.Tensor
    computed: int


@dataclass(slots=True)
class _Batch:
    """A batch on its way: answers and costs by place in token order."""

    prompts: SortedPrompts
    answers: list[torch.Tensor | None]
    computed: list[int]


@dataclass(frozen=True, slots=True)
class _Visit:
    """A group of prompts still to be answered; their first `depth` tokens lie on the path."""

    group: range
    depth: int


@dataclass(frozen=True, slots=True)
class _Leave:
    """The groups behind this node are done."""

    node: Node


class PackedScorer:
    """Answers batches through a radix prefix cache and packed forward passes.

    The last token of a prompt is always computed, even if the cache holds it, since
    log-probabilities are not kept. `pack_tokens` bounds the tokens of one forward pass.
    """

    def __init__(self, language_model: LanguageModel, cache_tokens: int, pack_tokens: int) -> None:
        needed = language_model.context_tokens + pack_tokens
        if cache_tokens < needed:
            raise ValueError(f"a cache of {cache_tokens} tokens is too small: one prompt and one pass need {needed}")
        self.language_model = language_model
        self.pack_tokens = pack_tokens
        self.cache = PrefixCache(cache_tokens)
        self._key_values = PooledKeyValues(language_model.layers, cache_tokens)
        self._path = np.zeros(language_model.context_tokens, np.int64)  # slots of the path being worked on

    def score(self, prompts: Sequence[Tokens]) -> list[NextToken]:
        """What may follow each prompt; a prompt given twice is computed once.

        A failure of the language model is passed on, and the cache starts anew.
        """
        ordered = SortedPrompts(prompts)
        count = len(ordered.tokens)
        batch = _Batch(ordered, [None] * count, [0] * count)
        pending: list[_Visit | _Leave] = [_Visit(range(count), 0)] if count else []
        try:
            while pending:
                task = pending.pop()
                if isinstance(task, _Leave):
                    self.cache.unpin(task.node)
                else:
                    self._visit(batch, task, pending)
        except BaseException:
            self.cache = PrefixCache(self.cache.capacity)
            raise
        return [self._answer(batch, number, rank) for number, rank in enumerate(ordered.rank)]

    def _answer(self, batch: _Batch, number: int, rank: int) -> NextToken:
        answer = batch.answers[rank]
        if answer is None:
            raise RuntimeError("a prompt was left without an answer")
        is_first = batch.prompts.origin[rank] == number
        return NextToken(answer, batch.computed[rank] if is_first else 0)

    def _visit(self, batch: _Batch, visit: _Visit, pending: list[_Visit | _Leave]) -> None:
        """Answer a small group at once; of a large one, compute the common run and come back for the rest."""
        group, depth = visit.group, visit.depth
        if batch.prompts.size(group, depth) <= self.pack_tokens:
            self._answer_group(batch, group, depth)
            return
        common = batch.prompts.common(group)
        if common > depth:
            pending.append(_Leave(self._extend(batch, group[0], depth, common)))
            if batch.prompts.lengths[group[0]] == common:
                group = group[1:]
        if group:
            bundles = batch.prompts.bundles(group, common, self.pack_tokens)
            pending.extend(_Visit(bundle, common) for bundle in reversed(bundles))

    def _extend(self, batch: _Batch, rank: int, depth: int, end: int) -> Node:
        """Bring the path from `depth` to `end` along a prompt; the answer is the pinned node it ends at."""
        tokens = batch.prompts.tokens[rank][:end]
        is_prompt = batch.prompts.lengths[rank] == end
        match = self.cache.match(tokens[: end - 1] if is_prompt else tokens)
        self._path[depth : match.length] = match.slots[depth:]
        node = self.cache.pin(match.node)
        for start in range(match.length, end, self.pack_tokens):
            stop = min(start + self.pack_tokens, end)
            node = self._compute_run(batch, rank, tokens[:stop], start, node)
        return node

    def _compute_run(self, batch: _Batch, rank: int, tokens: Tokens, start: int, pinned: Node) -> Node:
        """Compute `tokens[start:]` behind the path; moves the pin to the node they end at."""
        stop = len(tokens)
        answered = stop == batch.prompts.lengths[rank]
        new = self.cache.allocate(stop - start)
        pack = pack_run(tokens[start:], self._path[:start], new, answered=answered)
        scores = self.language_model.packed(pack, self._key_values)
        batch.computed[rank] += stop - start
        if answered:
            batch.answers[rank] = scores[0]
        self._path[start:stop] = new
        node = self.cache.pin(self.cache.insert(tokens, self._path[:stop], start))
        self.cache.unpin(pinned)
        return node

    def _answer_group(self, batch: _Batch, group: range, depth: int) -> None:
        """Answer all prompts of a group behind the path in one forward pass."""
        pins: list[Node] = []
        branches = self._branches(batch, group, depth, pins)
        scores = self.language_model.packed(pack_branches(branches, self._path[:depth]), self._key_values)
        for rank, branch, answer in zip(group, branches, scores, strict=True):
            batch.answers[rank] = answer
            batch.computed[rank] += len(branch.new)
            before = np.zeros(branch.new.start, np.int64)  # held already: insert() does not look at these
            self.cache.insert(branch.tokens, np.concatenate([before, branch.new_slots]), branch.new.start)
        for node in pins:
            self.cache.unpin(node)

    def _branches(self, batch: _Batch, group: range, depth: int, pins: list[Node]) -> list[Branch]:
        """Look up and pin what is cached of each prompt beyond the path, and allocate slots for the rest."""
        found: list[tuple[Tokens, range, range, Slots]] = []
        for rank in group:
            tokens = batch.prompts.tokens[rank]
            start = depth if rank == group[0] else batch.prompts.shared[rank]
            match = self.cache.match(tokens[:-1])
            pins.append(self.cache.pin(match.node))
            held = max(start, match.length)
            found.append((tokens, range(start, held), range(held, len(tokens)), match.slots[start:held]))
        slots = self.cache.allocate(sum(len(new) for _, _, new, _ in found))
        cuts = np.cumsum([len(new) for _, _, new, _ in found])[:-1]
        return [Branch(*parts, mine) for parts, mine in zip(found, np.split(slots, cuts), strict=True)]
