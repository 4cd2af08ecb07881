"""Flattens a prompt tree into lists in depth-first order, so that code over deep trees needs no recursion."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.identifiers import Row
from service.search.predictions.prompt_tree import PromptTree


@dataclass(slots=True)
class Segment:
    """A node of the tree: its text, and the positions of its parent, its children and the leaves right behind it."""

    parent: int | None
    text: str
    children: list[int] = field(default_factory=list)
    leaves: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A query right behind a segment."""

    segment: int
    row: Row
    text: str


@dataclass(frozen=True, slots=True)
class FlatTree:
    """A flattened prompt tree: every segment comes after its parent, and the leaves are in depth-first order."""

    segments: Sequence[Segment]
    leaves: Sequence[Leaf]

    def path(self, segment: int) -> list[int]:
        """The segments from the root to this one."""
        path = list[int]()
        place: int | None = segment
        while place is not None:
            path.append(place)
            place = self.segments[place].parent
        return path[::-1]

    def prompt(self, leaf: int) -> str:
        """The whole prompt of a leaf."""
        query = self.leaves[leaf]
        return "".join([*(self.segments[place].text for place in self.path(query.segment)), query.text])

    def last_characters(self, leaf: int, count: int) -> str:
        """The last `count` characters of a leaf's prompt."""
        query = self.leaves[leaf]
        text = query.text[-count:]
        place: int | None = query.segment
        while place is not None and len(text) < count:
            text = (self.segments[place].text + text)[-count:]
            place = self.segments[place].parent
        return text

    def longest_leaf(self) -> int:
        """The leaf with the longest prompt in characters."""
        before: list[int] = []
        for segment in self.segments:
            before.append((0 if segment.parent is None else before[segment.parent]) + len(segment.text))
        return max(range(len(self.leaves)), key=lambda n: before[self.leaves[n].segment] + len(self.leaves[n].text))


def flatten(tree: PromptTree) -> FlatTree:
    """Flatten a prompt tree depth first; the leaves of a segment come before those of its children."""
    segments, leaves = list[Segment](), list[Leaf]()
    ahead: list[tuple[PromptTree, int | None]] = [(tree, None)]
    while ahead:
        node, parent = ahead.pop()
        place = len(segments)
        segments.append(Segment(parent, node.text))
        if parent is not None:
            segments[parent].children.append(place)
        for query in node.queries:
            segments[place].leaves.append(len(leaves))
            leaves.append(Leaf(place, query.row, query.text))
        ahead += [(child, place) for child in reversed(node.children)]
    return FlatTree(segments, leaves)
