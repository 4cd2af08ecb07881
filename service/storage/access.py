"""Stores API keys, projects and the audit log in Postgres."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import KeyNotFound, ProjectNotFound
from service.identifiers import KeyId, ProjectName
from service.records.access import (
    USE_IS_NOTED_EVERY,
    ApiKey,
    AuditAction,
    AuditEntry,
    NewApiKey,
    Project,
    Scope,
    StoredKey,
)
from service.storage.tables import api_keys, audit_log, projects
from service.storage.unit_parts import UnitPart


class ApiKeyTable(UnitPart):
    """The API keys of all projects. It stores the SHA-256 of each secret, never the secret."""

    async def add(self, key: NewApiKey, sha256: bytes) -> ApiKey:
        """Store a new key, and its project if that is new."""
        await self._connection.execute(insert_or(projects).values(name=key.project).on_conflict_do_nothing())
        values = {
            "id": key.id,
            "sha256": sha256,
            "project": key.project,
            "name": key.name,
            "scopes": sorted(key.scopes),
            "created_at": func.now(),
            "expires_at": None if key.lifetime is None else func.now() + key.lifetime,
        }
        new = insert(api_keys).values(values).returning(*api_keys.c)
        return _key((await self._connection.execute(new)).mappings().one())

    async def find(self, key_id: KeyId) -> StoredKey | None:
        """The key with this id, whether or not it is still valid."""
        query = select(*api_keys.c, func.clock_timestamp().label("now")).where(api_keys.c.id == key_id)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else StoredKey(_key(row), row["sha256"], row["now"])

    async def list_all(self, project: ProjectName | None) -> list[ApiKey]:
        """All keys, or those of one project, the oldest first."""
        query = select(*api_keys.c).order_by(api_keys.c.created_at, api_keys.c.id)
        if project is not None:
            query = query.where(api_keys.c.project == project)
        return [_key(row) for row in (await self._connection.execute(query)).mappings()]

    async def revoke(self, key_id: KeyId) -> ApiKey:
        """Revoke the key from the commit on. A repeated call returns the same key. Raises KeyNotFound."""
        change = (
            update(api_keys)
            .where(api_keys.c.id == key_id)
            .values(revoked_at=func.coalesce(api_keys.c.revoked_at, func.clock_timestamp()))
            .returning(*api_keys.c)
        )
        row = (await self._connection.execute(change)).mappings().first()
        if row is None:
            raise KeyNotFound(f"there is no API key {key_id}")
        return _key(row)

    async def touch(self, key_id: KeyId) -> None:
        """Record that the key was used, unless the last record is less than a minute old."""
        stale = or_(
            api_keys.c.last_used_at.is_(None),
            api_keys.c.last_used_at <= func.clock_timestamp() - USE_IS_NOTED_EVERY,
        )
        which = (api_keys.c.id == key_id) & stale
        await self._connection.execute(update(api_keys).where(which).values(last_used_at=func.clock_timestamp()))


class ProjectTable(UnitPart):
    """All projects."""

    async def list_all(self) -> list[Project]:
        """All projects, sorted by name."""
        query = select(*projects.c).order_by(projects.c.name)
        return [_project(row) for row in (await self._connection.execute(query)).mappings()]

    async def limit(self, name: ProjectName, quotas: Mapping[str, int]) -> Project:
        """Replace the project's own quotas. Raises ProjectNotFound."""
        change = update(projects).where(projects.c.name == name).values(quotas=dict(quotas) or None)
        row = (await self._connection.execute(change.returning(*projects.c))).mappings().first()
        if row is None:
            raise ProjectNotFound(f"there is no project {name}")
        return _project(row)


class AuditTable(UnitPart):
    """The audit log: who did what."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection)
        self.recorded: list[AuditEntry] = []

    async def record(self, entry: AuditEntry) -> None:
        """Add an entry."""
        values = {
            "action": entry.action,
            "target": entry.target,
            "project": entry.project,
            "key_id": entry.key_id,
            "request_id": entry.request_id,
        }
        await self._connection.execute(insert(audit_log).values(values))
        self.recorded.append(entry)

    async def latest(self, *, limit: int, project: ProjectName | None = None) -> list[AuditEntry]:
        """The newest entries first: of all projects, or of one."""
        shown = [column for column in audit_log.c if column is not audit_log.c.id]
        query = select(*shown).order_by(audit_log.c.id.desc()).limit(limit)
        if project is not None:
            query = query.where(audit_log.c.project == project)
        found = (await self._connection.execute(query)).mappings()
        return [AuditEntry(**{**row, "action": AuditAction(row["action"])}) for row in found]


def _project(row: Mapping[Any, Any]) -> Project:
    return Project(name=row["name"], created_at=row["created_at"], quotas=row["quotas"] or {})


def _key(row: Mapping[Any, Any]) -> ApiKey:
    return ApiKey(
        id=row["id"],
        project=row["project"],
        name=row["name"],
        scopes=frozenset(map(Scope, row["scopes"])),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )
