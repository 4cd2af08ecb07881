"""Makes the scorer of a trained adapter out of the scorer of its base."""

from typing import Protocol, runtime_checkable

from service.ports.scoring import Scorer
from service.scoring.wires.adapters import LoadableAdapter


@runtime_checkable
class AdaptableScorer(Protocol):
    """A scorer that makes a scorer of an adapter over the same server, if the server loads adapters while it runs."""

    def adapted(self, adapter: LoadableAdapter) -> Scorer:
        """The scorer of the same server with this adapter. Raises AdapterRefused."""


def adapted(name: str, scorer: Scorer, adapter: LoadableAdapter) -> Scorer:
    """The scorer of the backend `name` with this adapter. Raises AdapterRefused."""
    if not isinstance(scorer, AdaptableScorer):
        raise adapter.refused(f"the backend {name!r} has no server that loads adapters; name another model")
    return scorer.adapted(adapter)
