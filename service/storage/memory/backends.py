"""What the twin knows of scoring backends: what they were, and what they have answered."""

from collections.abc import Collection
from dataclasses import replace

from service.entities import Lease
from service.identifiers import BackendId
from service.ports.scoring import BackendIdentity
from service.ports.store import KnownBackend
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.prompting.recall import Answers, PromptKey
from service.storage.memory.state import AnswerRecord, State


class MemoryBackends:
    """Identities, as the API and workers see them."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def recognized(self, identity: BackendIdentity) -> BackendId:
        """The oldest stored identity that agrees with this one; where there is none, it is stored."""
        known = self._state.backends.items()
        for backend_id, stored in sorted(known):
            if stored.agrees_with(identity):
                return backend_id
        new = BackendId(len(known) + 1)
        self._state.backends.put(new, identity)
        return new

    async def of_job(self, lease: Lease, measured: BackendIdentity) -> KnownBackend:
        """The backend that the job began with; a job that has none begins with this one. Raises LeaseLost."""
        self._state.held(lease)
        job = self._state.job(lease.job_id)
        backend_id = job.backend_id or await self.recognized(measured)
        self._state.jobs.put(job.id, replace(job, backend_id=backend_id))
        return KnownBackend(backend_id, self._state.backends.get(backend_id) or measured)


class MemoryAnswers:
    """What backends have answered to prompts."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def recall(self, backend_id: BackendId, keys: Collection[PromptKey]) -> dict[PromptKey, LogProbabilities]:
        """The answers to those of the prompts that are remembered."""
        found = {key: self._state.answers.get((backend_id, key)) for key in keys}
        return {key: record.log_probabilities for key, record in found.items() if record is not None}

    async def record(self, lease: Lease, backend_id: BackendId, answers: Answers) -> dict[PromptKey, LogProbabilities]:
        """Remember these answers; those that count from now on. Raises LeaseLost."""
        self._state.held(lease)
        for key in sorted(answers):
            if self._state.answers.get((backend_id, key)) is None:
                self._state.last_answer += 1
                self._state.answers.put((backend_id, key), AnswerRecord(self._state.last_answer, answers[key]))
        return await self.recall(backend_id, answers)

    async def last_beyond(self, max_answers: int) -> int | None:
        """The number of the newest answer that is beyond so many newer ones; None where there are fewer."""
        numbers = sorted((record.number for _, record in self._state.answers.items()), reverse=True)
        return numbers[max_answers] if len(numbers) > max_answers else None

    async def forget(self, last: int, *, at_most: int) -> int:
        """Drop the oldest answers up to this number; how many were dropped."""
        old = sorted((record.number, key) for key, record in self._state.answers.items() if record.number <= last)
        for _, key in old[:at_most]:
            self._state.answers.drop(key)
        return len(old[:at_most])
