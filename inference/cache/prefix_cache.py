"""Radix trees over token ids, which map a prefix to the slots of its keys and values in a pool.

Each language model (a base, or an adapter on it) has a separate tree, since it computes other keys and values for the
same tokens; all trees share the pool. A tree does not know tensors: a slot is a number below the capacity. A run of
tokens without a fork is one node. The tree finds prefixes token by token, evicts the least recently used tokens first,
and keeps pinned nodes with all their ancestors.
"""

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]
Slots = npt.NDArray[np.int64]


class CacheFull(Exception):
    """The requested tokens do not fit beside the pinned ones."""


class Node:
    """A run of tokens without a fork, with a slot for each."""

    __slots__ = ("children", "last_used", "parent", "pins", "slots", "tokens")

    def __init__(self, tokens: Tokens, slots: Slots, parent: "Node | None") -> None:
        self.tokens = tokens
        self.slots = slots
        self.parent = parent
        self.children: dict[int, Node] = {}
        self.pins = 0
        self.last_used = 0


@dataclass(frozen=True, slots=True)
class Match:
    """The longest cached prefix: its length in tokens, their slots, and the node it ends at."""

    length: int
    slots: Slots
    node: Node


def common_length(first: Tokens, second: Tokens) -> int:
    """How many tokens two runs have in common from their start."""
    length = min(len(first), len(second))
    differs = first[:length] != second[:length]
    return int(differs.argmax()) if differs.any() else length


class PrefixCache:
    """The held prefixes and their slots.

    `capacity` is the number of slots, one for each held token. Slots from `allocate` belong to
    the caller until `insert` or `release` returns them. `owner` identifies the language model or
    adapter of the keys and values.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.tokens = 0  # held in the tree
        self._free = np.arange(capacity, dtype=np.int64)[::-1].copy()
        self._free_count = capacity
        self._clock = 0
        self._roots: dict[str, Node] = {}
        self._leaves: set[Node] = set()

    def match(self, tokens: Tokens, owner: str = "") -> Match:
        """Find the longest held prefix of these tokens, and mark it as used now."""
        node, length, slots = self._walk(tokens, owner)
        return Match(length, np.concatenate(slots) if slots else np.empty(0, np.int64), node)

    def insert(self, tokens: Tokens, slots: Slots, first_new: int, owner: str = "") -> Node:
        """Hold these tokens; the caller has allocated the slots from `first_new` on.

        Tokens in the tree keep their slots: this method releases superfluous slots and corrects
        `slots` in place. It returns the node at the end of the tokens. Raises ValueError if the
        tree does not hold the tokens before `first_new`.
        """
        node, length, held = self._walk(tokens, owner)
        if length < first_new:
            raise ValueError(f"tokens from {length} to {first_new} are missing")
        if length > first_new:
            self.release(slots[first_new:length])
            slots[first_new:length] = np.concatenate(held)[first_new:length]
        if length == len(tokens):
            return node
        leaf = Node(tokens[length:].copy(), slots[length:].copy(), node)
        leaf.last_used = self._clock
        node.children[int(leaf.tokens[0])] = leaf
        self._leaves.discard(node)
        self._leaves.add(leaf)
        self.tokens += len(leaf.tokens)
        return leaf

    def pin(self, node: Node) -> Node:
        """Keep the prefix that ends at this node until it is unpinned as often as it was pinned."""
        self._add_pins(node, 1)
        return node

    def unpin(self, node: Node) -> None:
        """Take back one `pin` of this node."""
        self._add_pins(node, -1)

    def allocate(self, count: int) -> Slots:
        """Allocate slots for new tokens; evict the least recently used. Raises CacheFull."""
        if count > self._free_count:
            self._evict(count - self._free_count)
        if count > self._free_count:
            raise CacheFull(f"{count} tokens do not fit beside {self.capacity - self._free_count} pinned ones")
        self._free_count -= count
        return self._free[self._free_count : self._free_count + count].copy()

    def release(self, slots: Slots) -> None:
        """Give allocated slots back unused."""
        self._free[self._free_count : self._free_count + len(slots)] = slots
        self._free_count += len(slots)

    def clear(self) -> None:
        """Evict everything that is not pinned."""
        self._evict(self.capacity)

    def forget(self, owner: str) -> None:
        """Free all slots of an owner; none may be pinned."""
        root = self._roots.pop(owner, None)
        pending = [root] if root else []
        while pending:
            node = pending.pop()
            self.release(node.slots)
            self.tokens -= len(node.slots)
            self._leaves.discard(node)
            pending.extend(node.children.values())

    def _walk(self, tokens: Tokens, owner: str) -> tuple[Node, int, list[Slots]]:
        """Descend as far as the tokens agree, and split the node where they differ."""
        self._clock += 1
        root = self._roots.setdefault(owner, Node(np.empty(0, np.int32), np.empty(0, np.int64), None))
        node, length, slots = root, 0, []
        while length < len(tokens):
            child = node.children.get(int(tokens[length]))
            if child is None:
                break
            common = common_length(child.tokens, tokens[length:])
            node = child if common == len(child.tokens) else self._split(child, common)
            node.last_used = self._clock
            slots.append(node.slots)
            length += common
            if node is not child:
                break
        return node, length, slots

    def _split(self, lower: Node, at: int) -> Node:
        """Split a node in two; both halves keep the pins. Return the upper half."""
        parent = lower.parent
        if parent is None:
            raise ValueError("the root holds no tokens to split")
        upper = Node(lower.tokens[:at].copy(), lower.slots[:at].copy(), parent)
        upper.pins, upper.last_used = lower.pins, lower.last_used
        upper.children[int(lower.tokens[at])] = lower
        parent.children[int(upper.tokens[0])] = upper
        lower.tokens, lower.slots, lower.parent = lower.tokens[at:].copy(), lower.slots[at:].copy(), upper
        return upper

    def _add_pins(self, node: Node | None, count: int) -> None:
        while node is not None:
            node.pins += count
            node = node.parent

    def _evict(self, needed: int) -> None:
        """Free at least this many slots if pins allow, and some more, because finding the oldest leaves costs time."""
        needed = max(needed, self.capacity // 32)
        oldest = [(leaf.last_used, number, leaf) for number, leaf in enumerate(self._leaves) if not leaf.pins]
        heapq.heapify(oldest)
        number = len(oldest)
        while needed > 0 and oldest:
            leaf = heapq.heappop(oldest)[2]
            needed -= self._trim(leaf, needed)
            parent = leaf.parent
            if not len(leaf.tokens) and parent in self._leaves and not parent.pins:
                number += 1
                heapq.heappush(oldest, (parent.last_used, number, parent))

    def _trim(self, leaf: Node, count: int) -> int:
        """Drop tokens from a leaf's end, and an empty leaf; return the number of dropped tokens."""
        kept = max(0, len(leaf.tokens) - count)
        dropped = leaf.slots[kept:]
        self.release(dropped)
        self.tokens -= len(dropped)
        first, parent = int(leaf.tokens[0]), leaf.parent
        leaf.tokens, leaf.slots = leaf.tokens[:kept].copy(), leaf.slots[:kept].copy()
        if not kept and parent is not None:
            self._leaves.discard(leaf)
            del parent.children[first]
            if not parent.children and parent.parent is not None:
                self._leaves.add(parent)
        return len(dropped)
