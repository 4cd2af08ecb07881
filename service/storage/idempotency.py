"""Stores Idempotency-Keys, so that a repeated request returns the job of the first one."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from service.identifiers import JobId
from service.records.jobs import StoredRequest
from service.storage.tables import idempotency_keys
from service.storage.unit_parts import ProjectPart


class IdempotencyTable(ProjectPart):
    """A project's Idempotency-Keys, each with the request and the job of its first use."""

    async def find(self, key: str) -> StoredRequest | None:
        """The request and job of the key; None if no committed request has used it."""
        columns = (idempotency_keys.c.sha256, idempotency_keys.c.job_id)
        used = select(*columns).where(idempotency_keys.c.project == self._project, idempotency_keys.c.key == key)
        stored = (await self._connection.execute(used)).first()
        return None if stored is None else StoredRequest(sha256=stored.sha256, job_id=stored.job_id)

    async def claim(self, key: str, sha256: str, job_id: JobId) -> StoredRequest | None:
        """Store the key for this job, and return None; or return its earlier use.

        The insert waits for another transaction that inserts the same key. If that one rolls back, the key is ours;
        otherwise we read what it stored. If somebody has deleted that in between, we try again.
        """
        values = {"project": self._project, "key": key, "sha256": sha256, "job_id": job_id}
        new = insert(idempotency_keys).values(values).on_conflict_do_nothing()
        while (await self._connection.execute(new)).rowcount == 0:
            if (stored := await self.find(key)) is not None:
                return stored
        return None
