"""The three units of work, put together from repositories of whichever kind."""

from dataclasses import dataclass

from service.ports.access import Account, ApiKeys, Audit, AuditLog, Projects, Spendings
from service.ports.answers import RememberedAnswers
from service.ports.store import (
    Backends,
    BackendsOfJobs,
    Datasets,
    Events,
    EventsWrite,
    Gold,
    Idempotency,
    Jobs,
    LabelsRead,
    LabelsWrite,
    ShardRows,
    Shards,
)
from service.ports.webhooks import Deliveries, Webhooks


@dataclass(slots=True, kw_only=True)
class PostgresProjectUnit:
    """One unit of work for the API."""

    datasets: Datasets
    jobs: Jobs
    labels: LabelsRead
    gold: Gold
    events: Events
    idempotency: Idempotency
    account: Account
    audit: Audit
    backends: Backends
    webhooks: Webhooks


@dataclass(slots=True, kw_only=True)
class PostgresAccessUnit:
    """One unit of work for whoever lets callers in."""

    keys: ApiKeys
    projects: Projects
    audit: AuditLog


@dataclass(slots=True, kw_only=True)
class PostgresWorkerUnit:
    """One unit of work for a worker."""

    shards: Shards
    rows: ShardRows
    labels: LabelsWrite
    events: EventsWrite
    backends: BackendsOfJobs
    answers: RememberedAnswers
    deliveries: Deliveries
    spendings: Spendings
