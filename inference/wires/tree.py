"""The JSON of the tree wire: a whole prompt tree in one request, and token counts of many texts.

Trees are flat lists, so that JSON parsers do not limit their depth.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from inference.errors import InvalidRequest
from inference.label_tokens import Spelling
from inference.tree_prompts import Segment, Tree, TreeQuery
from inference.tree_scores import TreeAnswer

_Place = Annotated[int, Field(ge=0)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class NodeBody(_Body):
    """A segment of text behind its parent's; the parent stands earlier in the list, null is a beginning."""

    parent: _Place | None = None
    text: str


class QueryBody(_Body):
    """A query behind a node."""

    node: _Place
    text: str


class ScoreTreeBody(_Body):
    """The body of `POST /v1/score_tree`.

    A label follows its prompt after one space. `spellings` may give for each label, in the same
    order, other texts that stand for it, taken as they are: a space before one is part of it. A
    label's probability is then that of its own spelling and of these together. One that the
    tokenizer merges with the prompt is left out; one that stands for two labels is refused.
    `separator` is the text that follows a label in a demonstration. With it, a label that another
    one begins with ("1" and "10") is scored with the token that ends it.
    `adapter` is the name of an adapter that scores the tree; without it, or with the base's name, the base does.
    """

    nodes: list[NodeBody]
    queries: list[QueryBody]
    labels: Annotated[list[str], Field(min_length=1)]
    spellings: list[list[str]] | None = None
    separator: str = ""
    adapter: str | None = None


class CountTokensBody(_Body):
    """The body of `POST /v1/count_tokens`; special tokens do not count."""

    texts: list[str]


def tree_of(body: ScoreTreeBody) -> Tree:
    """The tree that a body describes. Raises InvalidRequest where it is none."""
    for number, node in enumerate(body.nodes):
        if node.parent is not None and node.parent >= number:
            raise InvalidRequest(f"nodes.{number}.parent: {node.parent} is not the place of an earlier node")
    for number, query in enumerate(body.queries):
        if query.node >= len(body.nodes):
            raise InvalidRequest(f"queries.{number}.node: there is no node {query.node}")
    others = body.spellings or [[] for _ in body.labels]
    if len(others) != len(body.labels):
        raise InvalidRequest(f"spellings: {len(others)} lists for {len(body.labels)} labels")
    return Tree(
        [Segment(node.parent, node.text) for node in body.nodes],
        [TreeQuery(query.node, query.text) for query in body.queries],
        [
            *(Spelling(number, f" {label}", is_own=True) for number, label in enumerate(body.labels)),
            *(Spelling(number, text) for number, texts in enumerate(others) for text in texts),
        ],
        body.separator,
    )


def score_tree_reply(answer: TreeAnswer) -> dict[str, Any]:
    """Log-probabilities in nats, a row for each query and in it a number for each label; a null stands for log 0."""
    return {
        "log_probabilities": answer.log_probabilities,
        "usage": {
            "prompts": answer.prompts,
            "tokens_sent": answer.tokens_sent,
            "tokens_computed": answer.tokens_computed,
        },
    }
