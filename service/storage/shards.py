"""Stores the labelling data of shards in Postgres: rows, progress, costs and the search's summary."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import JobId
from service.records.jobs import ClaimedShard, Progress, SearchPace, TrainingPace
from service.records.work import ClaimedWork, Lease
from service.search.predictions.prompt_tree import Usage
from service.storage.account import charge
from service.storage.fence import lease_is_current, lease_lost, lock_lease
from service.storage.progress import PACE, elapsed_seconds, job_not_found
from service.storage.records import SUMMED
from service.storage.stored_config import read_config
from service.storage.tables import jobs, labellings, shards, work_items
from service.storage.trainings import adapter_of
from service.storage.unit_parts import UnitPart
from service.storage.work_queue import WorkTable

_SIBLINGS = shards.alias("siblings")


class ShardTable(UnitPart):
    """Shards, for the workers that label them. `WorkTable` keeps their leases."""

    def __init__(self, connection: AsyncConnection, work: WorkTable) -> None:
        super().__init__(connection)
        self._work = work

    async def of(self, work: ClaimedWork) -> ClaimedShard:
        """The shard of a work item. Raises LeaseLost if somebody has deleted it."""
        own = _SIBLINGS.c.job_id == work.lease.job_id
        number, rows = (
            select(total).where(own).scalar_subquery() for total in (func.count(), func.sum(_SIBLINGS.c.rows))
        )
        query = (
            select(*shards.c, labellings.c.dataset_id, labellings.c.config)
            .add_columns(number.label("shards"), rows.label("job_rows"))
            .join(labellings, labellings.c.job_id == shards.c.job_id)
            .where(_is_shard(work.lease))
        )
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            raise lease_lost(work.lease)
        config = read_config(row["config"])
        return ClaimedShard(
            lease=work.lease,
            project=work.project,
            dataset_id=row["dataset_id"],
            config=config,
            shards=row["shards"],
            job_rows=row["job_rows"],
            rows=row["rows"],
            checkpoint=work.checkpoint,
            progress=Progress(rows=row["rows"], utility=row["utility"], **{name: row[name] for name in SUMMED}),
            paused=work.paused,
            remembered=row["remembered"],
            modelled=row["tokens_modelled"],
            server_crashes=row["server_crashes"] or {},
            adapter=await adapter_of(self._connection, config.model, work.project),
        )

    async def save(self, lease: Lease, *, checkpoint: bytes, progress: Progress) -> None:
        """Save the shard's checkpoint and progress; a changed checkpoint counts as an advance. Raises LeaseLost."""
        values: dict[str, Any] = {name: getattr(progress, name) for name in SUMMED}
        added = await self._change(lease, {**values, "utility": progress.utility})
        await self._work.save(lease, checkpoint)
        await charge(self._connection, lease.job_id, added)

    async def spend(self, lease: Lease, usage: Usage, *, remembered: int) -> None:
        """Record the shard's costs so far, and how many prompts the answer memory answered. Raises LeaseLost."""
        values = {
            "prompts": usage.prompts,
            "tokens_sent": usage.tokens_sent,
            "tokens_computed": usage.tokens_computed,
            "tokens_modelled": usage.modelled,
            "remembered": remembered,
        }
        await charge(self._connection, lease.job_id, await self._change(lease, values))

    async def set_pace(self, lease: Lease, pace: SearchPace | TrainingPace | None) -> None:
        """Store what the shard's search still asks or trains, or that it is unknown. Raises LeaseLost."""
        await self._write(lease, summary=None if pace is None else {PACE: asdict(pace)})

    async def summarize(self, lease: Lease, summary: Mapping[str, Any]) -> None:
        """Store the summary of the shard's search for the report. Raises LeaseLost."""
        await self._write(lease, summary=dict(summary))

    async def note_server_crashes(self, lease: Lease, counts: Mapping[str, int]) -> None:
        """Store the crash counts of the prompts. Raises LeaseLost."""
        await self._write(lease, server_crashes=dict(counts))

    async def job_totals(self, job_id: JobId) -> tuple[int, float]:
        """The whole job's computed tokens and its seconds without pauses. Raises JobNotFound."""
        tokens = select(func.coalesce(func.sum(shards.c.tokens_computed), 0)).where(shards.c.job_id == job_id)
        query = select(tokens.scalar_subquery(), func.coalesce(elapsed_seconds(), 0)).where(jobs.c.id == job_id)
        row = (await self._connection.execute(query)).first()
        if row is None:
            raise job_not_found(job_id)
        return int(row[0]), float(row[1])

    async def _write(self, lease: Lease, **values: Mapping[str, Any] | None) -> None:
        """Change the leased shard. Raises LeaseLost."""
        await lock_lease(self._connection, lease)
        await self._connection.execute(update(shards).where(_is_shard(lease)).values(values))

    async def _change(self, lease: Lease, values: Mapping[str, Any]) -> int:
        """Lock a leased shard and change it; returns the growth of its computed tokens. Raises LeaseLost."""
        item = (work_items.c.job_id == shards.c.job_id) & (work_items.c.number == shards.c.shard)
        query = select(shards.c.tokens_computed).join(work_items, item).where(lease_is_current(lease))
        locked = query.with_for_update(of=(work_items, shards), key_share=True)
        before = await self._connection.scalar(locked)
        if before is None:
            raise lease_lost(lease)
        await self._connection.execute(update(shards).where(_is_shard(lease)).values(values))
        return int(values["tokens_computed"]) - int(before)


def _is_shard(lease: Lease) -> ColumnElement[bool]:
    return (shards.c.job_id == lease.job_id) & (shards.c.shard == lease.number)
