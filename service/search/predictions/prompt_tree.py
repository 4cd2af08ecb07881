"""Prompt trees, the unit of scoring: prompts that share their beginnings, and the scores that answer them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.identifiers import Row

ENDING_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Query:
    """A row that needs a label: its prompt ends with the row's text, and the label follows after a space."""

    row: Row
    text: str


@dataclass(frozen=True, slots=True)
class PromptTree:
    """A node of prompts: a run of demonstrations, the queries right behind it, and the nodes that continue it.

    The prompt of a query is the text of every node from the root to its own, then the
    query's text. A tree has at most one query for each row.
    """

    text: str
    queries: tuple[Query, ...] = ()
    children: tuple["PromptTree", ...] = ()

    def prompts(self, prefix: str = "") -> Iterator[tuple[Row, str]]:
        """Every query's row and whole prompt, depth first, so that neighbours share long prefixes."""
        prefix += self.text
        for query in self.queries:
            yield query.row, prefix + query.text
        for child in self.children:
            yield from child.prompts(prefix)


@dataclass(frozen=True, slots=True)
class Usage:
    """The cost of scoring.

    `tokens_sent` counts the tokens of all prompts, `tokens_computed` those that the server did not
    find in its prefix cache. If `modelled` is True, the server does not report this number and it is
    that of an ideal cache. `tokens_trained` counts the tokens that trainings
    read, once for each epoch; `tokens_sent` and `tokens_computed` include them.
    """

    prompts: int = 0
    tokens_sent: int = 0
    tokens_computed: int = 0
    modelled: bool = False
    trainings: int = 0
    tokens_trained: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """The sum of both costs."""
        return Usage(
            self.prompts + other.prompts,
            self.tokens_sent + other.tokens_sent,
            self.tokens_computed + other.tokens_computed,
            self.modelled or other.modelled,
            self.trainings + other.trainings,
            self.tokens_trained + other.tokens_trained,
        )


LogProbabilities = tuple[float, ...]  # nats, one for each label in the task's order


@dataclass(frozen=True, slots=True)
class TreeScores:
    """The answer to a prompt tree: for each query's row, log p(label | prompt) in nats for every label."""

    log_probabilities: Mapping[Row, LogProbabilities]
    usage: Usage = Usage()


def ending(prompt: str) -> str:
    """The characters behind a prompt's last letter or digit, at most a few: the tokens of a label depend on them."""
    length = 0
    while length < min(len(prompt), ENDING_CHARACTERS) and not prompt[-1 - length].isalnum():
        length += 1
    return prompt[len(prompt) - length :]
