"""What a running shard asks of the memory of answers."""

from collections.abc import Collection
from typing import Protocol

from service.identifiers import BackendId
from service.records.work import Lease
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.prompting.recall import Answers, PromptKey


class RememberedAnswers(Protocol):
    """What backends have answered to prompts."""

    async def recall(self, backend_id: BackendId, keys: Collection[PromptKey]) -> dict[PromptKey, LogProbabilities]:
        """The answers to those of the prompts that are remembered."""

    async def record(self, lease: Lease, backend_id: BackendId, answers: Answers) -> dict[PromptKey, LogProbabilities]:
        """Remember these answers; those that count from now on. Raises LeaseLost.

        Where another answer to the same prompt is remembered already, it stays and is given back.
        """

    async def last_beyond(self, max_answers: int) -> int | None:
        """The number of the newest answer that is beyond so many newer ones; None where there are fewer."""

    async def forget(self, last: int, *, at_most: int) -> int:
        """Drop the oldest answers up to this number; how many were dropped."""
