"""Stores the label states of rows in Postgres: the API reads them, workers write them under a lease."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, RowMapping, Select, and_, func, literal, select, text, tuple_, union_all
from sqlalchemy.dialects.postgresql import insert

from service.identifiers import DatasetId, JobId, Label, Row
from service.records.labels import LabeledRow, LabelState, LabelStatus
from service.records.work import Lease
from service.storage.fence import lock_lease
from service.storage.progress import job_not_found, owned
from service.storage.records import unlabeled
from service.storage.tables import dataset_rows, gold_labels, jobs, label_states, labellings
from service.storage.unit_parts import ProjectPart, UnitPart

CHUNK_ROWS = 1000  # that a download reads from the database at once

_WRITTEN = ("label", "confidence", "margin", "status", "raw_probability", "reason")
STATE = tuple(label_states.c[name] for name in _WRITTEN)
# The same expression as in the index of tables.py, so that Postgres uses it.
_CONFIDENCE: ColumnElement[float] = func.coalesce(label_states.c.confidence, text("0::double precision"))


class LabelReader(ProjectPart):
    """Reads label states of a project's jobs. A row without a stored state counts as unlabeled."""

    async def page(
        self, job_id: JobId, *, limit: int, after: tuple[float, int] | None, by_confidence: bool
    ) -> list[tuple[str, LabelState]]:
        """Row ids with their label states, sorted by position or by rising confidence. Raises JobNotFound."""
        dataset_id = await self._dataset_of(job_id)
        if by_confidence:
            query = _by_confidence(dataset_id, job_id, limit, after)
        else:
            query = _rows_with_states(dataset_id, job_id).order_by(dataset_rows.c.position).limit(limit)
            if after is not None:
                query = query.where(dataset_rows.c.position > after[1])
        found = (await self._connection.execute(query)).mappings()
        return [(row["id"], state_from(row)) for row in found]

    async def result(
        self, job_id: JobId, *, after: int | None = None, limit: int | None = None
    ) -> AsyncGenerator[LabeledRow, None]:
        """Rows with their label states in the user's order, streamed from the database. Raises JobNotFound."""
        dataset_id = await self._dataset_of(job_id)
        gold = and_(gold_labels.c.dataset_id == dataset_id, gold_labels.c.position == dataset_rows.c.position)
        query = (
            _rows_with_states(dataset_id, job_id)
            .add_columns(dataset_rows.c.data, gold_labels.c.value.label("gold"))
            .outerjoin(gold_labels, gold)
            .order_by(dataset_rows.c.position)
            .limit(limit)
        )
        if after is not None:
            query = query.where(dataset_rows.c.position > after)
        async with self._connection.stream(query, execution_options={"yield_per": CHUNK_ROWS}) as rows:
            async for row in rows.mappings():
                yield LabeledRow(id=row["id"], data=row["data"], gold=row["gold"], state=state_from(row))

    async def _dataset_of(self, job_id: JobId) -> DatasetId:
        of_job = select(labellings.c.dataset_id).join(jobs, jobs.c.id == labellings.c.job_id)
        query = of_job.where(owned(job_id, self._project))
        found = await self._connection.scalar(query)
        if found is None:
            raise job_not_found(job_id)
        return DatasetId(found)


class LabelWriter(UnitPart):
    """Writes label states under a worker's lease."""

    async def write(self, lease: Lease, states: Sequence[LabelState]) -> None:
        """Replace the label states of these rows; writes only those that differ. Raises LeaseLost."""
        await lock_lease(self._connection, lease)
        if not states:
            return
        new = insert(label_states)
        upsert = new.on_conflict_do_update(
            index_elements=[label_states.c.job_id, label_states.c.position],
            set_={name: new.excluded[name] for name in _WRITTEN},
            where=tuple_(*STATE).is_distinct_from(tuple_(*(new.excluded[name] for name in _WRITTEN))),
        )
        values = [
            {
                "job_id": lease.job_id,
                "position": state.position,
                **{name: getattr(state, name) for name in _WRITTEN},
            }
            for state in states
        ]
        await self._connection.execute(upsert, values)

    async def of_shard(self, job_id: JobId, shard: int) -> dict[Row, Label]:
        """The labels of a shard's rows."""
        return await self._known(label_states.c.label, job_id, shard)

    async def unscorable(self, job_id: JobId, shard: int) -> dict[Row, str]:
        """The rows of a shard that the backend cannot score, each with the reason."""
        return await self._known(label_states.c.reason, job_id, shard)

    async def _known(self, column: Column[Any], job_id: JobId, shard: int) -> dict[Row, Any]:
        """This column of a shard's label states by row, in order, without nulls."""
        query = (
            select(label_states.c.position, column)
            .join(labellings, labellings.c.job_id == label_states.c.job_id)
            .join(dataset_rows, _same_row(labellings.c.dataset_id))
            .where(label_states.c.job_id == job_id, dataset_rows.c.shard == shard, column.is_not(None))
            .order_by(label_states.c.position)
        )
        return {row.position: row[1] for row in await self._connection.execute(query)}


def _same_row(dataset_id: ColumnElement[str]) -> ColumnElement[bool]:
    return and_(dataset_rows.c.dataset_id == dataset_id, dataset_rows.c.position == label_states.c.position)


def _rows_with_states(dataset_id: DatasetId, job_id: JobId) -> "Select[Any]":
    state_of_row = and_(label_states.c.job_id == job_id, label_states.c.position == dataset_rows.c.position)
    return (
        select(dataset_rows.c.id, dataset_rows.c.position, *STATE)
        .outerjoin_from(dataset_rows, label_states, state_of_row)
        .where(dataset_rows.c.dataset_id == dataset_id)
    )


def _by_confidence(dataset_id: DatasetId, job_id: JobId, limit: int, after: tuple[float, int] | None) -> "Select[Any]":
    """The next rows by rising confidence: rows without a state and rows with one, each read by an index, then merged.

    A row without a confidence counts as 0, and a cursor below 0 means 0.
    """
    missing = _rows_with_states(dataset_id, job_id).where(label_states.c.position.is_(None))
    missing = missing.add_columns(literal(0.0).label("sorted_by")).order_by(dataset_rows.c.position)
    present = (
        select(dataset_rows.c.id, dataset_rows.c.position, *STATE, _CONFIDENCE.label("sorted_by"))
        .join_from(label_states, dataset_rows, _same_row(literal(dataset_id)))
        .where(label_states.c.job_id == job_id)
        .order_by(_CONFIDENCE, label_states.c.position)
    )
    if after is not None:
        confidence, position = max(after[0], 0.0), after[1]
        if confidence > 0:
            missing = missing.where(text("false"))
        missing = missing.where(dataset_rows.c.position > position)
        present = present.where(tuple_(_CONFIDENCE, label_states.c.position) > tuple_(confidence, position))
    both = union_all(missing.limit(limit).subquery().select(), present.limit(limit).subquery().select()).subquery()
    return select(both).order_by(both.c.sorted_by, both.c.position).limit(limit)


def state_from(row: RowMapping) -> LabelState:
    """The label state in a row with the columns of STATE; unlabeled if they are null."""
    if row["status"] is None:
        return unlabeled(row["position"])
    return LabelState(
        position=row["position"],
        label=row["label"],
        confidence=row["confidence"],
        margin=row["margin"],
        status=LabelStatus(row["status"]),
        raw_probability=row["raw_probability"],
        reason=row["reason"],
    )
