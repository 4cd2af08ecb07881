"""The two units of work, put together from repositories of whichever kind."""

from dataclasses import dataclass

from service.ports import (
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
    RememberedAnswers,
    ShardRows,
    Shards,
)


@dataclass(slots=True, kw_only=True)
class DeskUnit:
    """One unit of work for the API."""

    datasets: Datasets
    jobs: Jobs
    labels: LabelsRead
    gold: Gold
    events: Events
    idempotency: Idempotency
    backends: Backends


@dataclass(slots=True, kw_only=True)
class WorkbenchUnit:
    """One unit of work for a worker."""

    shards: Shards
    rows: ShardRows
    labels: LabelsWrite
    events: EventsWrite
    backends: BackendsOfJobs
    answers: RememberedAnswers
