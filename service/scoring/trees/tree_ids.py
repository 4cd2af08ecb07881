"""Encodes each text of a prompt tree once, and joins the token ids to those of whole prompts."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from service.scoring.tokenization.encoding import Encoder
from service.scoring.trees.flat_tree import FlatTree


@dataclass(frozen=True, slots=True)
class TreeIds:
    """The token ids of every segment and leaf; `beginning` has the special tokens in front of each prompt."""

    flat_tree: FlatTree
    beginning: "array[int]"
    segments: Sequence["array[int]"]
    leaves: Sequence["array[int]"]

    def before(self, segment: int) -> "array[int]":
        """The token ids in front of the leaves of a segment."""
        ids = self.beginning[:]
        for place in self.flat_tree.path(segment):
            ids += self.segments[place]
        return ids

    def prompt(self, leaf: int) -> "array[int]":
        """The token ids of a leaf's whole prompt."""
        return self.before(self.flat_tree.leaves[leaf].segment) + self.leaves[leaf]


async def encode_tree(encoder: Encoder, flat_tree: FlatTree) -> TreeIds | None:
    """The token ids of the tree; None if they differ from those of its prompts encoded as whole texts.

    A tokenizer may merge the end of one text with the beginning of the next, or put a space in front of
    every text. To find that out, the longest prompt is also encoded as a whole. Raises BackendError.
    """
    if not await encoder.joins():
        return None
    segments, leaves = [segment.text for segment in flat_tree.segments], [leaf.text for leaf in flat_tree.leaves]
    encoded = await encoder.ids([*segments, *leaves])
    beginning = await encoder.beginning()
    ids = TreeIds(flat_tree, beginning, encoded[: len(segments)], encoded[len(segments) :])
    longest = flat_tree.longest_leaf()
    whole = await encoder.tokens(flat_tree.prompt(longest))
    return ids if [token.id for token in whole] == list(ids.prompt(longest)[len(beginning) :]) else None
