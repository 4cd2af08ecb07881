"""The token ids of a tree's prompts, put together from those of its texts."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from service.scoring.tokenization.encoding import Encoder
from service.scoring.trees.flat_tree import Layout


@dataclass(frozen=True, slots=True)
class TreeIds:
    """The ids of every segment and leaf; `beginning` has the special tokens that stand before each prompt."""

    layout: Layout
    beginning: "array[int]"
    segments: Sequence["array[int]"]
    leaves: Sequence["array[int]"]

    def before(self, segment: int) -> "array[int]":
        """What stands before the leaves of a segment."""
        ids = self.beginning[:]
        for place in self.layout.path(segment):
            ids += self.segments[place]
        return ids

    def prompt(self, leaf: int) -> "array[int]":
        """A leaf's whole prompt."""
        return self.before(self.layout.leaves[leaf].segment) + self.leaves[leaf]


async def encode_tree(encoder: Encoder, layout: Layout) -> TreeIds | None:
    """The tree's ids; None where they are not those of its prompts as whole texts.

    A tokenizer may merge what two texts meet with, or put a space before every text. The
    longest prompt is encoded whole to find that out. Raises BackendError.
    """
    if not await encoder.joins():
        return None
    segments, leaves = [segment.text for segment in layout.segments], [leaf.text for leaf in layout.leaves]
    encoded = await encoder.ids([*segments, *leaves])
    beginning = await encoder.beginning()
    ids = TreeIds(layout, beginning, encoded[: len(segments)], encoded[len(segments) :])
    longest = layout.longest_leaf()
    whole = await encoder.tokens(layout.prompt(longest))
    return ids if [token.id for token in whole] == list(ids.prompt(longest)[len(beginning) :]) else None
