"""Random prompt trees, and their prompts."""

from collections.abc import Sequence

from hypothesis import strategies as st

from inference.label_tokens import Spelling
from inference.tree_prompts import Segment, Tree, TreeQuery

LABELS = ("True", "False", "Paris", "Rome")  # a token each
PARTS = ("The city", " of Paris", " is in", "\n\n", "\n", "A", " 1", "é", "\r\n", "Claim: ", "<s>", "")


@st.composite
def trees(draw: st.DrawFn, labels: Sequence[str] = LABELS, *, most_segments: int = 8) -> Tree:
    """A tree of any shape: several beginnings, chains, empty segments, equal prompts, lines across segments."""
    texts = st.lists(st.sampled_from(PARTS), max_size=3).map("".join)
    parents = [None, *(draw(st.none() | st.integers(0, place)) for place in range(draw(st.integers(0, most_segments))))]
    segments = [Segment(parent, draw(texts)) for parent in parents]
    queries = draw(
        st.lists(st.builds(TreeQuery, st.integers(0, len(segments) - 1), texts.map("I{}".format)), max_size=8)
    )
    return Tree(segments, queries, own_spellings(labels))


def own_spellings(labels: Sequence[str]) -> list[Spelling]:
    """Each label after one space."""
    return [Spelling(number, f" {label}", is_own=True) for number, label in enumerate(labels)]


def prompts_of(tree: Tree) -> list[str]:
    """The whole prompt of every query."""
    paths: list[str] = []
    for segment in tree.segments:
        paths.append(("" if segment.parent is None else paths[segment.parent]) + segment.text)
    return [paths[query.segment] + query.text for query in tree.queries]
