"""What an adapter knows about its server, and nothing else: the requests and replies of one kind.

A wire makes single attempts. How many are under way, when one is made again and when a
server is left alone is decided in `executor.py`; what is asked, and how log-probabilities of
labels come out of the answers, in `prompts.py`. So the two are the same for every server.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from service.records.scoring import ServerFacts
from service.scoring.wires.kind import Kind


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as text, and as token ids where the server takes them and its tokenizer agrees.

    The ids hold everything, the special tokens that begin a prompt included; a server that is
    given text adds those itself.
    """

    text: str
    token_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class NextToken:
    """What one call tells of the token after a prompt.

    `by_id` has log p(token | prompt) in nats, over the whole vocabulary, for every token that
    was asked for, and for whatever else the server names, the likeliest token among it.
    `tokens_sent` and `tokens_computed` (not found in the prefix cache) are the server's own
    counts, None where it gives none; both are sums over `requests`, where the wire had to ask
    more than once. `relative` says that the values are shifted by an unknown
    common amount, so that only their differences mean something.
    """

    by_id: Mapping[int, float]
    tokens_sent: int | None = None
    tokens_computed: int | None = None
    relative: bool = False
    requests: int = 1


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text; `end` is the number of the text's characters up to and with it.

    A server that takes token ids need not tell where they end in the text: None.
    """

    id: int
    end: int | None = None


class Wire(Protocol):
    """One server, spoken to in its own way.

    Every method is one attempt and raises BackendUnavailable where another may succeed,
    BackendRefused where none will. A reply that lacks what was asked for is never filled in:
    LabelUnreachable where a token has no log-probability.
    """

    @property
    def kind(self) -> Kind:
        """The kind of server."""

    @property
    def takes_token_ids(self) -> bool:
        """Whether `Prompt.token_ids` is sent, rather than the text."""

    async def facts(self) -> ServerFacts:
        """What the server says of itself."""

    async def encode(self, text: str, *, special: bool = False) -> list[Token]:
        """The tokens of a text by the server's tokenizer; `special`: with those that it puts before a prompt."""

    async def next_token(self, prompt: Prompt, wanted: Sequence[int]) -> NextToken:
        """log p(token | prompt) for every wanted token; with none wanted, that of the likeliest token at least."""

    async def close(self) -> None:
        """Close every connection."""


@runtime_checkable
class ManyWire(Protocol):
    """A wire whose server takes many queries behind one beginning in one call, so that it travels once."""

    async def next_tokens(
        self, beginning: tuple[int, ...], items: Sequence[tuple[int, ...]], wanted: Sequence[int]
    ) -> list[NextToken]:
        """log p(token | beginning and item) for every wanted token, item by item; one attempt, as `Wire` has it.

        Counts that the server gives for the whole call stand in the first answer, and 0 in the others.
        """
