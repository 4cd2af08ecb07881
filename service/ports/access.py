"""The store of API keys, projects, quotas and the audit log, as Protocols."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from service.identifiers import DatasetId, KeyId, ProjectName
from service.records.access import ApiKey, AuditEntry, Holdings, NewApiKey, Project, Spending, StoredKey


class ApiKeys(Protocol):
    """The API keys of all projects."""

    async def add(self, key: NewApiKey, sha256: bytes) -> ApiKey:
        """Store a new key, and its project if that is new."""

    async def find(self, key_id: KeyId) -> StoredKey | None:
        """The key with this id, whether or not it is still valid."""

    async def list_all(self, project: ProjectName | None) -> list[ApiKey]:
        """All keys, or those of one project, the oldest first."""

    async def revoke(self, key_id: KeyId) -> ApiKey:
        """Revoke the key from the commit on. A repeated call returns the same key. Raises KeyNotFound."""

    async def touch(self, key_id: KeyId) -> None:
        """Record that the key was used, unless the last record is less than a minute old."""


class Projects(Protocol):
    """All projects."""

    async def list_all(self) -> list[Project]:
        """All projects, sorted by name."""

    async def limit(self, name: ProjectName, quotas: Mapping[str, int]) -> Project:
        """Replace the project's own quotas. Raises ProjectNotFound."""


class Audit(Protocol):
    """The audit log: who did what. An entry commits or rolls back with the action."""

    recorded: list[AuditEntry]  # in this unit of work

    async def record(self, entry: AuditEntry) -> None:
        """Add an entry."""


class AuditLog(Audit, Protocol):
    """The audit log with reading."""

    async def latest(self, *, limit: int, project: ProjectName | None = None) -> list[AuditEntry]:
        """The newest entries first: of all projects, or of one."""


class Account(Protocol):
    """One project's quotas and usage."""

    async def overrides(self) -> Mapping[str, int]:
        """The project's own quotas, which replace the default ones."""

    async def lock(self) -> None:
        """Let one unit of work at a time check the project's quotas."""

    async def usage(self, *, excluding: DatasetId | None = None) -> Holdings:
        """The project's usage now, without the data set `excluding`."""

    async def charge(self, tokens: int) -> None:
        """Add tokens that were computed at once, for no job, to the count of today (UTC)."""


class Spendings(Protocol):
    """The tokens that projects spent today, for workers."""

    async def today(self, project: ProjectName) -> Spending:
        """The project's computed tokens since midnight (UTC), and the seconds until the next."""


@dataclass(slots=True, kw_only=True)
class AccessUnit:
    """One unit of work for authentication and key management."""

    keys: ApiKeys
    projects: Projects
    audit: AuditLog
