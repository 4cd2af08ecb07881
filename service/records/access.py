"""Records of access: callers, keys, projects, quotas, the audit log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from service.identifiers import DEFAULT_PROJECT, KeyId, ProjectName


class Scope(StrEnum):
    """A permission of an API key."""

    READ = "read"  # jobs, labels, results, reports, events, backends, webhooks
    WRITE = "write"  # create, estimate, pause, resume, cancel, delete jobs; make and change webhooks
    ADMIN = "admin"  # all of it, and the metrics


class AuditAction(StrEnum):
    """An action in the audit log."""

    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    PROJECT_LIMITED = "project.limited"
    JOB_CREATED = "job.created"
    JOB_PAUSED = "job.paused"
    JOB_RESUMED = "job.resumed"
    JOB_CANCELLED = "job.cancelled"
    JOB_DELETED = "job.deleted"
    JOB_EXPIRED = "job.expired"  # deleted past its retention period
    TRAINING_CREATED = "training.created"
    TRAINING_PAUSED = "training.paused"
    TRAINING_RESUMED = "training.resumed"
    TRAINING_CANCELLED = "training.cancelled"
    TRAINING_DELETED = "training.deleted"
    ADAPTER_DOWNLOADED = "adapter.downloaded"
    RESULT_DOWNLOADED = "result.downloaded"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_DELETED = "webhook.deleted"
    WEBHOOK_ROTATED = "webhook.rotated"
    WEBHOOK_TESTED = "webhook.tested"
    WEBHOOK_RESENT = "webhook.resent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The project and permissions behind a request."""

    project: ProjectName = DEFAULT_PROJECT
    key_id: KeyId | None = None  # none: somebody on this machine, who needs no key
    scopes: frozenset[Scope] = frozenset(Scope)
    request_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope is among the caller's; admin includes all."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


LOCAL_CALLER = Caller()


USE_IS_NOTED_EVERY = timedelta(minutes=1)  # of an API key; more often would be a write for every request


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key without its secret."""

    id: KeyId
    project: ProjectName
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None  # to the minute

    def is_good(self, now: datetime) -> bool:
        """Whether the key is valid at this moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def is_use_news(self, now: datetime) -> bool:
        """Whether to record a use at this moment."""
        return self.last_used_at is None or now - self.last_used_at >= USE_IS_NOTED_EVERY


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """An API key about to be stored, with its lifetime by the store's clock, which is checked at every use."""

    id: KeyId
    project: ProjectName
    name: str
    scopes: frozenset[Scope]
    lifetime: timedelta | None = None  # without end


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """A project's limits; 0 is no limit."""

    jobs_in_flight: int = 0  # that have not ended
    rows: int = 0  # stored at once
    bytes: int = 0  # of the rows stored at once
    tokens_per_day: int = 0  # computed between two midnights (UTC); a running job then waits
    event_streams: int = 0  # open at once at one API process


NO_QUOTAS = Quotas()


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """A project's present usage."""

    jobs_in_flight: int
    rows: int
    bytes: int
    tokens_today: int
    seconds_left_today: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The size of a data set."""

    rows: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The owner of jobs and all their data; every API key belongs to one project."""

    name: ProjectName
    created_at: datetime
    quotas: Mapping[str, int]  # its own, which replace the default ones


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """An entry of the audit log: an action, its target, and the caller."""

    action: AuditAction
    target: str  # a job's or key's id, or a project's name
    project: ProjectName
    key_id: KeyId | None
    request_id: str | None
    at: datetime | None = None  # by the database's clock, once it is stored

    @classmethod
    def by(cls, caller: Caller, action: AuditAction, target: str) -> "AuditEntry":
        """An entry about what this caller does."""
        return cls(
            action=action, target=target, project=caller.project, key_id=caller.key_id, request_id=caller.request_id
        )


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key, the SHA-256 of its whole text, and the database's present time, which decides its expiry."""

    key: ApiKey
    sha256: bytes
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The tokens that workers have had computed for a project today (UTC), and its own quotas."""

    tokens: int
    seconds_left_today: float
    overrides: Mapping[str, int]  # the project's own quotas
