"""The language models that trainings may start from."""

from collections.abc import Iterator
from typing import Protocol

from service.records.trainings import BaseIdentity


class Bases(Protocol):
    """The bases that the operator names."""

    def __contains__(self, name: object, /) -> bool:
        """Whether there is a base of this name."""

    def __iter__(self) -> Iterator[str]:
        """Their names."""

    def __len__(self) -> int:
        """How many there are."""

    def get(self, name: str, default: str, /) -> str:
        """The folder or hub name of a base."""

    async def identity(self, name: str) -> BaseIdentity | None:
        """The name and fingerprint of the base; None if this process cannot read it."""
