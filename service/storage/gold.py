"""Reads gold labels beside the labels found, for the report's accuracy."""

from collections.abc import AsyncIterator

from sqlalchemy import and_, select

from service.identifiers import JobId
from service.records.labels import LabelState
from service.storage.labels import CHUNK_ROWS, STATE, state_from
from service.storage.progress import owned
from service.storage.records import gold_text
from service.storage.tables import gold_labels, jobs, label_states, labellings
from service.storage.unit_parts import ProjectPart


class GoldTable(ProjectPart):
    """Pairs of a found label and a gold label, for counting how often they agree."""

    async def pairs(self, job_id: JobId) -> AsyncIterator[tuple[LabelState, str]]:
        """The label state and the gold value as text, for every row that has a gold value."""
        found = and_(label_states.c.job_id == jobs.c.id, label_states.c.position == gold_labels.c.position)
        query = (
            select(gold_labels.c.position, gold_labels.c.value, *STATE)
            .select_from(jobs)
            .join(labellings, labellings.c.job_id == jobs.c.id)
            .join(gold_labels, gold_labels.c.dataset_id == labellings.c.dataset_id)
            .outerjoin(label_states, found)
            .where(owned(job_id, self._project))
            .order_by(gold_labels.c.position)
        )
        async with self._connection.stream(query, execution_options={"yield_per": CHUNK_ROWS}) as rows:
            async for row in rows.mappings():
                if (text := gold_text(row["value"])) is not None:
                    yield state_from(row), text
