"""The store of backends' answers, as running shards use it."""

from collections.abc import Collection
from typing import Protocol

from service.identifiers import BackendId
from service.records.work import Lease
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.prompting.recall import Answers, PromptKey


class RememberedAnswers(Protocol):
    """Backends' stored answers to prompts."""

    async def recall(self, backend_id: BackendId, keys: Collection[PromptKey]) -> dict[PromptKey, LogProbabilities]:
        """The stored answers to these prompts."""

    async def record(self, lease: Lease, backend_id: BackendId, answers: Answers) -> dict[PromptKey, LogProbabilities]:
        """Store these answers; returns the valid ones: an answer stored earlier stays valid. Raises LeaseLost."""

    async def last_to_evict(self, max_answers: int) -> int | None:
        """Sequence number of the newest answer to evict if the newest `max_answers` are kept; None if none must go."""

    async def evict(self, last: int, *, at_most: int) -> int:
        """Delete the oldest answers up to this number; returns how many."""
