"""The interface of a wire, which translates single calls to the requests and replies of one kind of server.

`executor.py` decides how many calls are in flight, when to retry and when to stop calling a server. `prompts.py`
decides what to ask, and computes label scores from the answers. So both work for every kind of server.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from service.records.scoring import ServerFacts
from service.scoring.wires.kind import Kind


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as text, and as token ids if the server takes them and its tokenizer allows joining them.

    The ids include the special tokens in front of a prompt, which a server that receives text adds itself.
    """

    text: str
    token_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class NextToken:
    """The log-probabilities of the token after a prompt.

    `by_id` has log p(token | prompt) in nats, over the whole vocabulary, for every wanted token and for all others that
    the server names, the likeliest token among them. `tokens_sent` and `tokens_computed` (not found in the prefix
    cache) are the server's own counts, None if it reports none; they are sums over all `requests` of the wire.
    `relative` says that an unknown constant shifts all values, so that only their differences count.
    """

    by_id: Mapping[int, float]
    tokens_sent: int | None = None
    tokens_computed: int | None = None
    relative: bool = False
    requests: int = 1


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text."""

    id: int
    end: int | None = None  # characters of the text up to its end; servers that take token ids need not report it


class Wire(Protocol):
    """Single calls to one server in the form of its kind.

    Every method makes one attempt. It raises BackendUnavailable if another attempt may succeed,
    BackendRefused if none will, and LabelUnreachable if the reply has no log-probability for a wanted
    token: a wire never makes up a missing value.
    """

    @property
    def kind(self) -> Kind:
        """The kind of server."""

    @property
    def takes_token_ids(self) -> bool:
        """Whether the wire sends `Prompt.token_ids` rather than the text."""

    async def facts(self) -> ServerFacts:
        """The server's own description."""

    async def encode(self, text: str, *, special: bool = False) -> list[Token]:
        """Encode a text by the server's tokenizer; if `special`, with the special tokens in front of a prompt."""

    async def next_token(self, prompt: Prompt, wanted: Sequence[int]) -> NextToken:
        """log p(token | prompt) for every wanted token; if there are none, at least for the likeliest token."""

    async def close(self) -> None:
        """Close every connection."""


@runtime_checkable
class ManyWire(Protocol):
    """A wire whose server scores many queries behind one beginning in one call, which sends the beginning once."""

    async def next_tokens(
        self, beginning: tuple[int, ...], items: Sequence[tuple[int, ...]], wanted: Sequence[int]
    ) -> list[NextToken]:
        """log p(token | beginning and item) for every wanted token, one answer per item, in one attempt (see Wire).

        Token counts of the whole call are in the first answer; the others then have 0.
        """
