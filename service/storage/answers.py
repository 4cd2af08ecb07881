"""Stores backends' answers to prompts in Postgres, so that no project asks the same prompt twice."""

import struct
from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import ARRAY, BindParameter, LargeBinary, any_, bindparam, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from service.identifiers import BackendId
from service.records.work import Lease
from service.search.predictions.prompt_tree import LogProbabilities
from service.search.prompting.recall import Answers, PromptKey
from service.storage.fence import lock_lease
from service.storage.tables import remembered_answers
from service.storage.unit_parts import UnitPart

CHUNK_ANSWERS = 10_000  # in one statement
_FLOAT_BYTES = 8


class AnswerTable(UnitPart):
    """One row for each prompt that a backend has answered."""

    async def recall(self, backend_id: BackendId, keys: Collection[PromptKey]) -> dict[PromptKey, LogProbabilities]:
        """The stored answers to these prompts."""
        table, found = remembered_answers, dict[PromptKey, LogProbabilities]()
        for chunk in _chunks(sorted(keys)):
            known = (table.c.backend_id == backend_id) & (table.c.prompt == any_(_array(chunk)))
            rows = await self._connection.execute(select(table.c.prompt, table.c.log_probabilities).where(known))
            found.update((PromptKey(row.prompt), _unpacked(row.log_probabilities)) for row in rows)
        return found

    async def record(self, lease: Lease, backend_id: BackendId, answers: Answers) -> dict[PromptKey, LogProbabilities]:
        """Store these answers; returns the valid ones, which are older ones where another worker was first.

        Inserts in the order of the keys, or two workers with the same prompts could deadlock. Raises LeaseLost.
        """
        await lock_lease(self._connection, lease)
        counting = dict(answers)
        for chunk in _chunks(sorted(answers)):
            new = await self._add(backend_id, chunk, answers)
            counting |= await self.recall(backend_id, [key for key in chunk if key not in new])
        return counting

    async def last_to_evict(self, max_answers: int) -> int | None:
        """Sequence number of the newest answer to evict if the newest `max_answers` are kept; None if none must go."""
        number = remembered_answers.c.number
        query = select(number).order_by(number.desc()).offset(max_answers).limit(1)
        last: int | None = await self._connection.scalar(query)
        return last

    async def evict(self, last: int, *, at_most: int) -> int:
        """Delete the oldest answers up to this number, without those that another process locks; returns how many."""
        number = remembered_answers.c.number
        oldest = select(number).where(number <= last).order_by(number).limit(at_most).with_for_update(skip_locked=True)
        deletion = await self._connection.execute(
            delete(remembered_answers).where(number.in_(select(oldest.cte("oldest").c.number)))
        )
        return deletion.rowcount

    async def _add(self, backend_id: BackendId, keys: Sequence[PromptKey], answers: Answers) -> set[PromptKey]:
        """Store the answers to prompts that have none yet; returns these prompts."""
        table = remembered_answers
        packed = [_packed(answers[key]) for key in keys]
        new = func.unnest(_array(keys), _array(packed)).table_valued("prompt", "log_probabilities").render_derived()
        source = select(literal(backend_id), new.c.prompt, new.c.log_probabilities)
        added = insert(table).from_select(["backend_id", "prompt", "log_probabilities"], source)
        rows = await self._connection.execute(added.on_conflict_do_nothing().returning(table.c.prompt))
        return {PromptKey(row.prompt) for row in rows}


def _chunks(keys: Sequence[PromptKey]) -> Iterator[Sequence[PromptKey]]:
    for start in range(0, len(keys), CHUNK_ANSWERS):
        yield keys[start : start + CHUNK_ANSWERS]


def _array(values: Sequence[bytes]) -> BindParameter[Sequence[bytes]]:
    return bindparam(None, values, type_=ARRAY(LargeBinary))


def _packed(values: LogProbabilities) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def _unpacked(data: bytes) -> LogProbabilities:
    return struct.unpack(f"<{len(data) // _FLOAT_BYTES}d", data)
