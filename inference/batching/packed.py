"""Score prompts with a prefix cache: walk the trie of a batch depth first and compute every shared run once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from inference.cache.key_values import PooledKeyValues
from inference.cache.packing import Branch, SortedPrompts, pack_branches, pack_run
from inference.cache.prefix_cache import Node, PrefixCache, Slots, Tokens
from inference.model.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class NextToken:
    """The distribution of the next token after a prompt.

    `log_probabilities`, in nats, has shape (vocabulary,), or that of the named token ids.
    `computed` counts the prompt's tokens that ran through the language model. The first prompt
    in token order pays for tokens that several prompts share, so that the sum over a batch is
    the number of computed tokens.
    """

    log_probabilities: torch.Tensor
    computed: int


NamedTokens = Sequence[int] | None  # token ids to score; None: the whole vocabulary


def only_named(log_probabilities: torch.Tensor, named: NamedTokens) -> torch.Tensor:
    """Copy the requested scores of an answer, so that the rest of the vocabulary can be freed."""
    return log_probabilities if named is None else log_probabilities[list(named)]


class _Batch:
    """A running batch: costs by place in token order, answers in the order of the prompts."""

    def __init__(self, prompts: Sequence[Tokens], named: Sequence[NamedTokens], owner: str) -> None:
        self.prompts = SortedPrompts(prompts)
        self.owner = owner  # of their keys and values
        self.computed = [0] * len(self.prompts.tokens)
        self._named = named
        self._answers: list[torch.Tensor | None] = [None] * len(prompts)

    def answer(self, rank: int, log_probabilities: torch.Tensor) -> None:
        """Store the requested scores of a prompt's answer, for each of its occurrences."""
        for number in self.prompts.given[rank]:
            self._answers[number] = only_named(log_probabilities, self._named[number])

    def answers(self) -> list[NextToken]:
        """The answers; the first of equal prompts bears the cost."""
        cost = {numbers[0]: count for numbers, count in zip(self.prompts.given, self.computed, strict=True)}
        found = [answer for answer in self._answers if answer is not None]
        if len(found) < len(self._answers):
            raise RuntimeError("a prompt was left without an answer")
        return [NextToken(answer, cost.get(number, 0)) for number, answer in enumerate(found)]


@dataclass(frozen=True, slots=True)
class _Visit:
    """A group of pending prompts; their first `depth` tokens lie on the path."""

    group: range
    depth: int


@dataclass(frozen=True, slots=True)
class _Leave:
    """The groups behind this node are done."""

    node: Node


class PackedScorer:
    """Answer batches through a radix prefix cache and packed forward passes.

    This class always computes the last token of a prompt, even if the cache holds it, since
    nobody keeps log-probabilities. `pack_tokens` bounds the tokens of one forward pass.
    """

    def __init__(self, language_model: LanguageModel, cache_tokens: int, pack_tokens: int) -> None:
        needed = language_model.context_tokens + pack_tokens
        if cache_tokens < needed:
            raise ValueError(f"a cache of {cache_tokens} tokens is too small: one prompt and one pass need {needed}")
        self.language_model = language_model
        self.pack_tokens = pack_tokens
        self.cache = PrefixCache(cache_tokens)
        self._key_values = PooledKeyValues(language_model.layers, cache_tokens)
        self._path = np.zeros(language_model.context_tokens, np.int64)  # slots of the current path

    def score(
        self, prompts: Sequence[Tokens], named: Sequence[NamedTokens] | None = None, owner: str = ""
    ) -> list[NextToken]:
        """Score each prompt; equal prompts are computed once.

        `owner` identifies the language model or an adapter; none reads the cache entries of another. A failure of the
        language model propagates, and the cache starts empty.
        """
        batch = _Batch(prompts, named or [None] * len(prompts), owner)
        count = len(batch.prompts.tokens)
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
        return batch.answers()

    def _visit(self, batch: _Batch, visit: _Visit, pending: list[_Visit | _Leave]) -> None:
        """Answer a small group at once; compute the common run of a large one and continue with its parts."""
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
        """Extend the path from `depth` to `end` along a prompt; return the pinned node at its end."""
        tokens = batch.prompts.tokens[rank][:end]
        is_prompt = batch.prompts.lengths[rank] == end
        match = self.cache.match(tokens[: end - 1] if is_prompt else tokens, batch.owner)
        self._path[depth : match.length] = match.slots[depth:]
        node = self.cache.pin(match.node)
        for start in range(match.length, end, self.pack_tokens):
            stop = min(start + self.pack_tokens, end)
            node = self._compute_run(batch, rank, tokens[:stop], start, node)
        return node

    def _compute_run(self, batch: _Batch, rank: int, tokens: Tokens, start: int, pinned: Node) -> Node:
        """Compute `tokens[start:]` behind the path, and move the pin to the node at their end."""
        stop = len(tokens)
        answered = stop == batch.prompts.lengths[rank]
        new = self.cache.allocate(stop - start)
        pack = pack_run(tokens[start:], self._path[:start], new, answered=answered)
        scores = self.language_model.packed(pack, self._key_values)
        batch.computed[rank] += stop - start
        if answered:
            batch.answer(rank, scores[0])
        self._path[start:stop] = new
        node = self.cache.pin(self.cache.insert(tokens, self._path[:stop], start, batch.owner))
        self.cache.unpin(pinned)
        return node

    def _answer_group(self, batch: _Batch, group: range, depth: int) -> None:
        """Answer all prompts of a group behind the path in one forward pass."""
        pins: list[Node] = []
        branches = self._branches(batch, group, depth, pins)
        scores = self.language_model.packed(pack_branches(branches, self._path[:depth]), self._key_values)
        for rank, branch, answer in zip(group, branches, scores, strict=True):
            batch.answer(rank, answer)
            batch.computed[rank] += len(branch.new)
            before = np.zeros(branch.new.start, np.int64)  # the cache holds them already: insert() ignores these
            self.cache.insert(branch.tokens, np.concatenate([before, branch.new_slots]), branch.new.start, batch.owner)
        for node in pins:
            self.cache.unpin(node)

    def _branches(self, batch: _Batch, group: range, depth: int, pins: list[Node]) -> list[Branch]:
        """Look up and pin the cached part of each prompt beyond the path, and allocate slots for the rest."""
        found: list[tuple[Tokens, range, range, Slots]] = []
        for rank in group:
            tokens = batch.prompts.tokens[rank]
            start = depth if rank == group[0] else batch.prompts.shared[rank]
            match = self.cache.match(tokens[:-1], batch.owner)
            pins.append(self.cache.pin(match.node))
            held = max(start, match.length)
            found.append((tokens, range(start, held), range(held, len(tokens)), match.slots[start:held]))
        slots = self.cache.allocate(sum(len(new) for _, _, new, _ in found))
        cuts = np.cumsum([len(new) for _, _, new, _ in found])[:-1]
        return [Branch(*parts, mine) for parts, mine in zip(found, np.split(slots, cuts), strict=True)]
