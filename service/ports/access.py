"""What access asks of the store: keys, projects, quotas, the audit log."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from service.identifiers import DatasetId, KeyId, ProjectName
from service.records.access import ApiKey, AuditEntry, Holdings, NewApiKey, Project, Spending, StoredKey


class ApiKeys(Protocol):
    """The API keys of all projects."""

    async def add(self, key: NewApiKey, sha256: bytes) -> ApiKey:
        """Store a key as of now, and its project where that is new."""

    async def find(self, key_id: KeyId) -> StoredKey | None:
        """The key of this id, whether or not it is still good."""

    async def listed(self, project: ProjectName | None) -> list[ApiKey]:
        """All keys, or those of a project; the oldest first."""

    async def revoke(self, key_id: KeyId) -> ApiKey:
        """Make the key good for nothing from the commit on. Repeated, the same answer. Raises KeyNotFound."""

    async def touch(self, key_id: KeyId) -> None:
        """Note that the key was used, unless that was noted within the last minute."""


class Projects(Protocol):
    """All projects."""

    async def listed(self) -> list[Project]:
        """By name."""

    async def limit(self, name: ProjectName, quotas: Mapping[str, int]) -> Project:
        """Replace the quotas of a project's own. Raises ProjectNotFound."""


class Audit(Protocol):
    """The log of who did what; stored with what was done, or not at all."""

    recorded: list[AuditEntry]  # in this unit of work

    async def record(self, entry: AuditEntry) -> None:
        """Add an entry."""


class AuditLog(Audit, Protocol):
    """The same log, to be read."""

    async def latest(self, *, limit: int, project: ProjectName | None = None) -> list[AuditEntry]:
        """Entries, the newest first: all, or those of a project."""


class Account(Protocol):
    """What the project unit's project has and may have."""

    async def overrides(self) -> Mapping[str, int]:
        """The quotas that the project has of its own."""

    async def lock(self) -> None:
        """Keep others from counting until the unit of work ends."""

    async def usage(self, *, besides: DatasetId | None = None) -> Holdings:
        """What the project has as of now, besides this data set of its own."""

    async def charge(self, tokens: int) -> None:
        """Add tokens that were computed at once, for no job, to the count of today (UTC)."""


class Spendings(Protocol):
    """The accounts of all projects, as far as workers need them."""

    async def today(self, project: ProjectName) -> Spending:
        """What the project has had computed since midnight, as of now."""


@dataclass(slots=True, kw_only=True)
class AccessUnit:
    """One unit of work for whoever lets callers in, and for the operator."""

    keys: ApiKeys
    projects: Projects
    audit: AuditLog
