"""Stores the identity of the backend that each job began with, so that a job never mixes labels of two backends."""

import zlib

from sqlalchemy import func, insert, select, update

from service.identifiers import BackendId
from service.records.jobs import KnownBackend
from service.records.scoring import BackendIdentity
from service.records.work import Lease
from service.storage.fence import lock_lease
from service.storage.tables import backend_identities, labellings
from service.storage.unit_parts import UnitPart

_LOCK = 1_187_023_364  # first part of the key of an advisory lock; nothing else in this database uses this number


class BackendTable(UnitPart):
    """The identities of scoring backends, for the API and workers."""

    async def recognized(self, identity: BackendIdentity) -> BackendId:
        """The oldest stored identity that agrees with this one; stores this one if none agrees.

        Transactions that store the same fingerprint wait for each other, or they would store it twice.
        """
        of_the_fingerprint = zlib.crc32(identity.fingerprint.encode()) - 2**31
        await self._connection.execute(select(func.pg_advisory_xact_lock(_LOCK, of_the_fingerprint)))
        like = backend_identities.c.fingerprint == identity.fingerprint
        query = select(backend_identities).where(like).order_by(backend_identities.c.id)
        for row in await self._connection.execute(query):
            if BackendIdentity(row.fingerprint, tuple(row.canary)).agrees_with(identity):
                return BackendId(row.id)
        values = {"fingerprint": identity.fingerprint, "canary": list(identity.canary)}
        new = insert(backend_identities).values(values).returning(backend_identities.c.id)
        return BackendId((await self._connection.execute(new)).scalar_one())

    async def of_job(self, lease: Lease, measured: BackendIdentity) -> KnownBackend:
        """The backend that the job began with; a job without one begins with this one. Raises LeaseLost."""
        await lock_lease(self._connection, lease)
        known = await self._known(lease)
        if known is not None:
            return known
        backend_id = await self.recognized(measured)
        unknown = (labellings.c.job_id == lease.job_id) & labellings.c.backend_id.is_(None)
        await self._connection.execute(update(labellings).where(unknown).values(backend_id=backend_id))
        adopted = await self._known(lease)  # another worker's, if that was faster
        return adopted or KnownBackend(backend_id, measured)

    async def _known(self, lease: Lease) -> KnownBackend | None:
        query = (
            select(backend_identities)
            .join(labellings, labellings.c.backend_id == backend_identities.c.id)
            .where(labellings.c.job_id == lease.job_id)
        )
        row = (await self._connection.execute(query)).first()
        return None if row is None else KnownBackend(row.id, BackendIdentity(row.fingerprint, tuple(row.canary)))
