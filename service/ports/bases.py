"""The language models that trainings may start from."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from service.records.trainings import BaseIdentity


class BaseFacts(Protocol):
    """The properties of a base, by its files."""

    @property
    def context_tokens(self) -> int | None:
        """The context; None if unknown."""

    @property
    def hidden_size(self) -> int | None:
        """The width of its layers; None if unknown."""

    def tokens(self, text: str, *, special: bool) -> Sequence[int] | None:
        """The text's tokens, with those that begin every text if `special`; None without its tokenizer here."""


class Bases(Protocol):
    """The bases that the operator names."""

    def __contains__(self, name: object, /) -> bool:
        """Whether there is a base of this name."""

    def __iter__(self) -> Iterator[str]:
        """Their names."""

    def __len__(self) -> int:
        """Their number."""

    def get(self, name: str, default: str, /) -> str:
        """The folder or hub name of a base."""

    async def identity(self, name: str) -> BaseIdentity | None:
        """The name and fingerprint of the base; None if this process cannot read it."""

    async def facts(self, name: str) -> BaseFacts | None:
        """The base's properties; None if this process cannot read its files."""
