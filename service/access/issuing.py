"""The operator's commands for API keys, quotas of projects and the audit log; only the command line calls them."""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta

from service.access.keys import Key, is_key_id, new_key
from service.access.quotas import parsed_overrides
from service.errors import Fault, InvalidInput, KeyNotFound
from service.identifiers import KeyId, ProjectName
from service.ports.store import Store
from service.records.access import ApiKey, AuditAction, AuditEntry, Caller, NewApiKey, Project, Scope

_PROJECT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LONGEST_NAME = 200


def project_name(text: str) -> ProjectName:
    """Check the name of a project. Raises InvalidInput."""
    if not _PROJECT.fullmatch(text):
        fault = Fault("1 to 63 lower-case letters, digits and hyphens, no hyphen at the ends", field="project")
        raise InvalidInput(f"{text!r} cannot be the name of a project", [fault])
    return ProjectName(text)


async def create_key(
    store: Store, *, project: str, name: str, scopes: Iterable[Scope], lifetime: timedelta | None = None
) -> tuple[ApiKey, Key]:
    """Create and store a key, and its project if that is new. Only the returned `Key` has the secret.

    Raises InvalidInput.
    """
    owner = project_name(project)
    granted = frozenset(scopes)
    if not granted:
        raise InvalidInput("the key needs a scope", [Fault("at least one scope", field="scopes")])
    if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
        raise InvalidInput("the key needs a name", [Fault(f"1 to {LONGEST_NAME} printable characters", field="name")])
    made = new_key()
    new = NewApiKey(id=made.id, project=owner, name=name, scopes=granted, lifetime=lifetime)
    async with store.access_unit() as unit:
        key = await unit.keys.add(new, made.sha256)
        await unit.audit.record(AuditEntry.by(Caller(project=owner), AuditAction.KEY_CREATED, key.id))
    return key, made


async def list_projects(store: Store) -> list[Project]:
    """All projects, by name."""
    async with store.access_unit() as unit:
        return await unit.projects.list_all()


async def limit_project(store: Store, name: str, changes: Mapping[str, int | None]) -> Project:
    """Set a project's own quotas; None removes one. Raises InvalidInput and ProjectNotFound."""
    project = project_name(name)
    async with store.access_unit() as unit:
        known = {found.name: found.quotas for found in await unit.projects.list_all()}
        quotas = parsed_overrides(changes, known.get(project, {}))
        limited = await unit.projects.limit(project, quotas)
        await unit.audit.record(AuditEntry.by(Caller(project=project), AuditAction.PROJECT_LIMITED, project))
    return limited


async def latest_entries(store: Store, *, limit: int, project: str | None = None) -> list[AuditEntry]:
    """The newest entries of the audit log, of all projects or of one, newest first. Raises InvalidInput."""
    async with store.access_unit() as unit:
        return await unit.audit.latest(limit=limit, project=None if project is None else project_name(project))


async def list_keys(store: Store, *, project: str | None = None) -> list[ApiKey]:
    """The keys of all projects or of one, oldest first. Raises InvalidInput."""
    async with store.access_unit() as unit:
        return await unit.keys.list_all(None if project is None else project_name(project))


async def revoke_key(store: Store, key_id: str) -> ApiKey:
    """Revoke a key at once; revoking it again gives the same result. Raises KeyNotFound."""
    key_id = key_id.removeprefix("icm_")
    if not is_key_id(key_id):
        raise KeyNotFound("there is no API key of this id; `icm keys list` shows the ids")
    async with store.access_unit() as unit:
        key = await unit.keys.revoke(KeyId(key_id))
        await unit.audit.record(AuditEntry.by(Caller(project=key.project), AuditAction.KEY_REVOKED, key.id))
    return key
