"""Prompt trees: the unit of scoring."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.identifiers import Row

ENDING_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Query:
    """A row whose label is asked for; the prompt ends with its text, the label follows after a space."""

    row: Row
    text: str


@dataclass(frozen=True, slots=True)
class PromptTree:
    """A run of demonstrations, the queries read right behind it, and the runs that continue it.

    The prompt of a query is the text of every node from the root to its own, then the
    query's text. A row is asked for at most once in a tree.
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
    """What scoring cost.

    `tokens_sent` counts the tokens of all prompts, `tokens_computed` those among them
    that the server did not find in its prefix cache; `modelled` says that the server
    does not report this and the number is that of an ideal cache. `tokens_trained` counts those that trainings
    read, once for each epoch; they are among the tokens sent and computed.
    """

    prompts: int = 0
    tokens_sent: int = 0
    tokens_computed: int = 0
    modelled: bool = False
    trainings: int = 0
    tokens_trained: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """The cost of both."""
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
    """What the tokens of a label depend on: the characters behind a prompt's last letter or digit, a few at most."""
    length = 0
    while length < min(len(prompt), ENDING_CHARACTERS) and not prompt[-1 - length].isalnum():
        length += 1
    return prompt[len(prompt) - length :]
