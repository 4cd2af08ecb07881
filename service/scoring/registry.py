"""Finds the operator's scoring backends by name."""

from collections.abc import Mapping, Sequence

from service.errors import ModelNotFound
from service.ports.scoring import Scorer


class ConfiguredScorers:
    """The configured backends by name; the first is the default."""

    def __init__(self, scorers: Mapping[str, Scorer]) -> None:
        self._scorers = dict(scorers)

    def names(self) -> Sequence[str]:
        """All names, the default first."""
        return tuple(self._scorers)

    def get(self, name: str) -> Scorer:
        """The backend of this name. Raises ModelNotFound."""
        if name not in self._scorers:
            raise ModelNotFound(f"there is no model {name!r}; configured are: {', '.join(self._scorers)}")
        return self._scorers[name]

    async def close(self) -> None:
        """Release every backend's connections."""
        for scorer in self._scorers.values():
            await scorer.close()
