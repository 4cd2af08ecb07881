"""Prompt trees for the toy wire."""

from hypothesis import strategies as st

from service.identifiers import Row
from service.search.predictions.prompt_tree import PromptTree, Query

SEGMENTS = ("", "Paris is in France. True\n\n", "Rome.\n", "Oslo is cold. False\n\n", "A\n\nB\n\n")


@st.composite
def trees(draw: st.DrawFn, *, most_nodes: int = 8) -> PromptTree:
    """A tree of any shape, with empty segments and nodes without queries.

    Texts begin with words of their own, so that prompts share what the tree says they share and nothing else.
    """
    count = draw(st.integers(1, most_nodes))
    parents = [draw(st.integers(0, place - 1)) if place else -1 for place in range(count)]
    texts = [draw(st.sampled_from(("", f"N{place}\n\n"))) for place in range(count)]
    texts = [text and text + draw(st.sampled_from(SEGMENTS)) for text in texts]
    queries = [
        tuple(Query(Row(row), f"Q{row} is it{draw(st.sampled_from(('', '?', ' 12')))}") for row in rows)
        for rows in (range(3 * place, 3 * place + draw(st.integers(0, 3))) for place in range(count))
    ]
    nodes: list[PromptTree | None] = [None] * count
    for place in reversed(range(count)):
        children = tuple(
            node for child in range(place + 1, count) if parents[child] == place and (node := nodes[child])
        )
        nodes[place] = PromptTree(texts[place], queries[place], children)
    assert nodes[0] is not None
    return nodes[0]


def halves(rows: range, *, text: str = "Root of it all.\n\n") -> PromptTree:
    """A divide-and-conquer tree: each row alone after a path as long as the tree is deep."""
    if len(rows) == 1:
        return PromptTree(text, (Query(Row(rows[0]), f"Q{rows[0]} is it"),))
    middle = (rows.start + rows.stop) // 2
    left, right = range(rows.start, middle), range(middle, rows.stop)
    return PromptTree(text, (), (halves(left, text=_claims(right)), halves(right, text=_claims(left))))


def _claims(rows: range) -> str:
    return "".join(f"R{row} is claimed. True\n\n" for row in rows)


def chained(count: int) -> PromptTree:
    """A chain in which every node has a query and the next node."""
    tree: PromptTree | None = None
    for row in reversed(range(count)):
        tree = PromptTree(f"Claim {row} is made.\n\n", (Query(Row(row), f"Q{row} is it"),), (tree,) if tree else ())
    assert tree is not None
    return tree
