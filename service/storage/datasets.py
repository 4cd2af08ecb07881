"""Stores data sets and their rows in Postgres; workers read the rows of their shard."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import insert, select, update

from service.identifiers import DatasetId
from service.records.jobs import NewDataset, NewRow, ShardRow
from service.storage.tables import dataset_rows, datasets, gold_labels
from service.storage.unit_parts import ProjectPart, UnitPart


class DatasetTable(ProjectPart):
    """A project's data sets. COPY writes their rows in chunks, and gold into a separate table."""

    async def add(self, dataset: NewDataset) -> None:
        """Store a data set without its rows."""
        values = {
            "id": dataset.id,
            "project": self._project,
            "columns": list(dataset.columns),
            "gold_field": dataset.gold_field,
            "rows": dataset.rows,
            "sha256": dataset.sha256,
            "arrow_schema": dataset.arrow_schema,
        }
        await self._connection.execute(insert(datasets).values(values))

    async def add_rows(self, dataset_id: DatasetId, rows: Sequence[NewRow]) -> None:
        """Store a chunk of rows."""
        # The UPDATE begins SQLAlchemy's transaction; the driver's COPY would not.
        size = sum(row.size_bytes for row in rows)
        own = (datasets.c.id == dataset_id) & (datasets.c.project == self._project)
        grown = update(datasets).where(own).values(bytes=datasets.c.bytes + size).returning(datasets.c.id)
        if (await self._connection.execute(grown)).first() is None:
            raise LookupError(f"there is no data set {dataset_id}")
        await self._copy(
            dataset_rows.name,
            ("dataset_id", "position", "shard", "id", "data"),
            ((dataset_id, row.position, row.shard, row.id, row.data) for row in rows),
        )
        await self._copy(
            gold_labels.name,
            ("dataset_id", "position", "value"),
            ((dataset_id, row.position, row.gold) for row in rows if row.gold is not None),
        )

    async def _copy(self, table: str, columns: tuple[str, ...], records: Iterable[tuple[Any, ...]]) -> None:
        raw = await self._connection.get_raw_connection()
        driver: Any = raw.driver_connection
        await driver.copy_records_to_table(table, records=records, columns=columns)


class ShardRowTable(UnitPart):
    """The rows of a shard, without gold."""

    async def of(self, dataset_id: DatasetId, shard: int) -> list[ShardRow]:
        """The shard's rows in the user's order."""
        query = (
            select(dataset_rows.c.position, dataset_rows.c.data)
            .where(dataset_rows.c.dataset_id == dataset_id, dataset_rows.c.shard == shard)
            .order_by(dataset_rows.c.position)
        )
        return [ShardRow(position=row.position, data=row.data) for row in await self._connection.execute(query)]
