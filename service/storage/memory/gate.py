"""The twin's repositories for whoever lets callers in, and the audit log."""

from dataclasses import replace
from datetime import timedelta

from service.entities import ApiKey, AuditEntry
from service.errors import KeyNotFound
from service.identifiers import KeyId, ProjectName
from service.ports import StoredKey
from service.storage.lifecycle import USE_IS_NOTED_EVERY
from service.storage.memory.state import State


class MemoryApiKeys:
    """The API keys of all projects."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, key: ApiKey, sha256: bytes) -> None:
        """Store a key."""
        self._state.api_keys.put(key.id, (key, sha256))

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
        if key.last_used_at is None or now - key.last_used_at >= timedelta(seconds=USE_IS_NOTED_EVERY):
            self._state.api_keys.put(key_id, (replace(key, last_used_at=now), found[1]))


class MemoryAudit:
    """The log of who did what."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.recorded: list[AuditEntry] = []

    async def record(self, entry: AuditEntry) -> None:
        """Add an entry."""
        number = len(self._state.audit.items())
        self._state.audit.put(number, replace(entry, at=self._state.now()))
        self.recorded.append(entry)

    async def latest(self, *, limit: int, project: ProjectName | None = None) -> list[AuditEntry]:
        """Entries, the newest first: all, or those of a project."""
        found = [entry for _, entry in self._state.audit.items() if project in (None, entry.project)]
        return found[::-1][:limit]
