"""Measures a project's usage of its quotas, and charges it for computed tokens."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Date, Select, case, cast, extract, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import DatasetId, JobId, ProjectName
from service.lifecycle import OPEN_JOB
from service.records.access import Holdings, Spending
from service.storage.tables import datasets, jobs, project_tokens, projects, trainings
from service.storage.unit_parts import ProjectPart, UnitPart

_NOW: ColumnElement[Any] = func.timezone("UTC", func.clock_timestamp())
TODAY: ColumnElement[Any] = cast(_NOW, Date)


class AccountTable(ProjectPart):
    """One project's quotas and usage."""

    async def overrides(self) -> Mapping[str, int]:
        """The project's own quotas, which replace the default ones."""
        query = select(projects.c.quotas).where(projects.c.name == self._project)
        return await self._connection.scalar(query) or {}

    async def lock(self) -> None:
        """Let one transaction at a time check the project's quotas. Storing a job does not wait for this lock."""
        query = select(projects.c.name).where(projects.c.name == self._project).with_for_update(key_share=True)
        await self._connection.execute(query)

    async def usage(self, *, excluding: DatasetId | None = None) -> Holdings:
        """The project's usage now, without the data set `excluding`."""
        stored = select(
            func.coalesce(func.sum(datasets.c.rows), 0).label("rows"),
            func.coalesce(func.sum(datasets.c.bytes), 0).label("bytes"),
        ).where(datasets.c.project == self._project, datasets.c.id != (excluding or ""))
        open_jobs = (jobs.c.project == self._project) & jobs.c.status.in_(OPEN_JOB)
        in_flight = select(func.count()).select_from(jobs).where(open_jobs)
        counted_today = (project_tokens.c.project == self._project) & (project_tokens.c.day == TODAY)
        today = select(project_tokens.c.tokens).where(counted_today)
        row = (await self._connection.execute(stored)).one()
        files = await self._number(self._bytes_of_trainings())
        return Holdings(
            jobs_in_flight=await self._number(in_flight),
            rows=int(row.rows),
            bytes=int(row.bytes) + files,
            tokens_today=await self._number(today),
            seconds_left_today=float(await self._number(_seconds_left_today())),
        )

    async def charge(self, tokens: int) -> None:
        """Add tokens that were computed at once, for no job, to the count of today (UTC)."""
        await _add(self._connection, select(literal(self._project), TODAY, literal(tokens)))

    def _bytes_of_trainings(self) -> "Select[Any]":
        """Bytes of artifacts, and of examples and checkpoints of trainings that have not ended."""
        under_way = case(
            (jobs.c.status.in_(OPEN_JOB), trainings.c.examples_bytes + trainings.c.checkpoint_bytes), else_=0
        )
        return (
            select(func.sum(trainings.c.artifact_bytes + under_way))
            .join(jobs, jobs.c.id == trainings.c.job_id)
            .where(jobs.c.project == self._project)
        )

    async def _number(self, query: "Select[Any]") -> int:
        return int(await self._connection.scalar(query) or 0)


class SpendingTable(UnitPart):
    """The tokens that projects spent today, for workers."""

    async def today(self, project: ProjectName) -> Spending:
        """The project's computed tokens since midnight (UTC), and the seconds until the next."""
        counted = (project_tokens.c.project == projects.c.name) & (project_tokens.c.day == TODAY)
        query = (
            select(projects.c.quotas, project_tokens.c.tokens, _seconds_left_today().scalar_subquery())
            .outerjoin_from(projects, project_tokens, counted)
            .where(projects.c.name == project)
        )
        quotas, tokens, seconds = (await self._connection.execute(query)).one()
        return Spending(tokens=int(tokens or 0), seconds_left_today=float(seconds), overrides=quotas or {})


async def charge(connection: AsyncConnection, job_id: JobId, tokens: int) -> None:
    """Add computed tokens, if there are any, to today's count (UTC) of the job's project.

    Call it last in a transaction, after locking work item and job: all workers of a project wait for this row.
    """
    if tokens > 0:
        await _add(connection, select(jobs.c.project, TODAY, literal(tokens)).where(jobs.c.id == job_id))


async def _add(connection: AsyncConnection, source: "Select[Any]") -> None:
    """Add to a project's count of a day; the source gives project, day and tokens."""
    new = insert(project_tokens).from_select(["project", "day", "tokens"], source)
    change = {"tokens": project_tokens.c.tokens + new.excluded.tokens}
    await connection.execute(
        new.on_conflict_do_update(index_elements=[project_tokens.c.project, project_tokens.c.day], set_=change)
    )


def _seconds_left_today() -> "Select[Any]":
    midnight = func.date_trunc("day", _NOW) + text("interval '1 day'")
    return select(extract("epoch", midnight - _NOW))
