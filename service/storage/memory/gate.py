"""The twin's repositories about access: keys, projects, accounts, the audit log."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from service.entities import ApiKey, AuditEntry, Holdings, NewApiKey, Project
from service.errors import KeyNotFound, ProjectNotFound
from service.identifiers import DatasetId, KeyId, ProjectName
from service.ports.access import Spending, StoredKey
from service.storage.memory.state import State


class MemoryApiKeys:
    """The API keys of all projects."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, key: NewApiKey, sha256: bytes) -> ApiKey:
        """Store a key as of now, and its project where that is new."""
        now = self._state.now()
        stored = ApiKey(
            id=key.id,
            project=key.project,
            name=key.name,
            scopes=key.scopes,
            created_at=now,
            expires_at=None if key.lifetime is None else now + key.lifetime,
        )
        self._state.add_project(key.project)
        self._state.api_keys.put(key.id, (stored, sha256))
        return stored

    async def find(self, key_id: KeyId) -> StoredKey | None:
        """The key of this id, whether or not it is still good."""
        found = self._state.api_keys.get(key_id)
        return None if found is None else StoredKey(*found, self._state.now())

    async def listed(self, project: ProjectName | None) -> list[ApiKey]:
        """All keys, or those of a project; the oldest first."""
        keys = (key for _, (key, _) in self._state.api_keys.items() if project in (None, key.project))
        return sorted(keys, key=lambda key: (key.created_at, key.id))

    async def revoke(self, key_id: KeyId) -> ApiKey:
        """Make the key good for nothing. Repeated, the same answer. Raises KeyNotFound."""
        found = self._state.api_keys.get(key_id)
        if found is None:
            raise KeyNotFound(f"there is no API key {key_id}")
        key = replace(found[0], revoked_at=found[0].revoked_at or self._state.now())
        self._state.api_keys.put(key_id, (key, found[1]))
        return key

    async def touch(self, key_id: KeyId) -> None:
        """Note that the key was used, unless that was noted within the last minute."""
        found = self._state.api_keys.get(key_id)
        if found is None:
            return
        key, now = found[0], self._state.now()
        if key.is_use_news(now):
            self._state.api_keys.put(key_id, (replace(key, last_used_at=now), found[1]))


class MemoryProjects:
    """All projects."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def listed(self) -> list[Project]:
        """By name."""
        return sorted((project for _, project in self._state.projects.items()), key=lambda project: project.name)

    async def limit(self, name: ProjectName, quotas: Mapping[str, int]) -> Project:
        """Replace the quotas of a project's own. Raises ProjectNotFound."""
        project = self._state.projects.get(name)
        if project is None:
            raise ProjectNotFound(f"there is no project {name}")
        limited = replace(project, quotas=dict(quotas))
        self._state.projects.put(name, limited)
        return limited


class MemoryAccount:
    """One project's account; the twin has one unit of work at a time, so there is nothing to lock."""

    def __init__(self, state: State, project: ProjectName) -> None:
        self._state = state
        self._project = project

    async def overrides(self) -> Mapping[str, int]:
        """The quotas that the project has of its own."""
        project = self._state.projects.get(self._project)
        return {} if project is None else project.quotas

    async def lock(self) -> None:
        """Nobody else is here."""

    async def usage(self, *, besides: DatasetId | None = None) -> Holdings:
        """What the project has as of now, besides this data set of its own."""
        owned = {name for name, project in self._state.owners.items() if project == self._project}
        kept = [name for name, _ in self._state.datasets.items() if name in owned and name != besides]
        rows = [row for name in kept for row in self._state.rows.get(name) or ()]
        gold = (len(value) for (name, _), value in self._state.gold.items() if name in kept)
        jobs = [job for job_id, job in self._state.jobs.items() if job_id in owned and not job.status.is_final]
        return Holdings(
            jobs_in_flight=len(jobs),
            rows=len(rows),
            bytes=sum(row.size_bytes for row in rows) + sum(gold),
            tokens_today=_tokens_today(self._state, self._project),
            seconds_left_today=_seconds_left_today(self._state),
        )


class MemorySpendings:
    """The accounts of all projects, as far as workers need them."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def today(self, project: ProjectName) -> Spending:
        """What the project has had computed since midnight, as of now."""
        found = self._state.projects.get(project)
        return Spending(
            tokens=_tokens_today(self._state, project),
            seconds_left_today=_seconds_left_today(self._state),
            overrides={} if found is None else found.quotas,
        )


def _tokens_today(state: State, project: ProjectName) -> int:
    return state.tokens.get((project, state.now().astimezone(UTC).date())) or 0


def _seconds_left_today(state: State) -> float:
    now = state.now().astimezone(UTC)
    return (datetime.combine(now.date() + timedelta(days=1), time(), UTC) - now).total_seconds()


class MemoryAudit:
    """The log of who did what."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.recorded: list[AuditEntry] = []

    async def record(self, entry: AuditEntry) -> None:
        """Add an entry."""
        self._state.enter(entry)
        self.recorded.append(entry)

    async def latest(self, *, limit: int, project: ProjectName | None = None) -> list[AuditEntry]:
        """Entries, the newest first: all, or those of a project."""
        found = [entry for _, entry in self._state.audit.items() if project in (None, entry.project)]
        return found[::-1][:limit]
