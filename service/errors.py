"""Every error the service raises on purpose; nothing here knows HTTP or SQL.

ServiceError
├── InvalidInput               the service cannot use the user's input; names lines and fields
│   ├── InvalidConfig          the job's configuration
│   ├── InvalidDataset         the data set's rows
│   └── InvalidCursor          a paging cursor that this service has not given out
├── UnsupportedFormat          a file format or content type that the service does not read
├── PayloadTooLarge            more bytes or rows than the operator allows
├── NotAuthenticated           the request has no API key, or an invalid one
├── NotPermitted               the API key lacks the scope that the request needs
├── QuotaExceeded              the project has reached a quota; deleting data helps, waiting does not
│   ├── QuotaExhausted         waiting helps, since jobs end and days pass
│   └── QuotaTooSmall          this request alone is over the quota
├── TooManyRequests            one API key has sent too many requests
├── HostNotAllowed             the request names a host that is not this service
├── KeyNotFound                there is no API key of this id
├── ProjectNotFound
├── JobNotFound
├── TrainingNotFound
├── WebhookNotFound
├── DeliveryNotFound           the webhook has no delivery of this id
├── ModelNotFound              no scoring backend of that name is configured
├── WrongState                 the job's status does not allow the request
│   ├── JobNotFinished         a request for results before the job has ended
│   ├── TrainingNotFinished    a request for the report or adapter of a training that has not succeeded
│   ├── JobFinished            cancel or pause of a job that has ended
│   └── WebhookDisabled        a request to send a message to a disabled endpoint
├── IdempotencyMismatch        the same Idempotency-Key came with another request
├── BackendError               the inference server failed or changed
│   ├── BackendUnavailable     unreachable, overloaded or failed: worth another try
│   ├── BackendRefused         answered, but cannot do what scoring needs: no use in trying again
│   │   ├── LabelUnreachable   gave no log-probability for a label
│   │   └── AdapterRefused     cannot serve a trained adapter
│   └── BackendChanged         serves another model than the one that the job began with
├── TrainingFailed             a training ended without a result: no use in trying again
├── RewardModelUnusable        this installation cannot load a reward model: no use in trying again
├── RewardsUnavailable         a reward model gave no rewards in time, or its process died: worth another try
├── CheckpointTooNew           a later release wrote the checkpoint, and this one cannot read it
├── ConfigUnreadable           another release stored a configuration that this one cannot read
├── RequestTooSlow             a request whose bytes arrive too slowly
├── Overloaded                 this process has no capacity left: worth another try
├── SpoolFull                  the disk has no room for an upload: worth another try
├── StorageUnavailable         Postgres cannot be reached: worth another try
│   └── StorageFull            its disk is full: it stores nothing until there is room, and still reads
└── LeaseLost                  this worker no longer holds the work item; it must write nothing more
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the input: physical line in the file (from 1) and field, where they are known."""

    message: str
    line: int | None = None
    field: str | None = None


class ServiceError(Exception):
    """Root of all errors raised on purpose."""


class InvalidInput(ServiceError):
    """The service cannot use the user's input."""

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class InvalidConfig(InvalidInput):
    """The job's configuration cannot be used."""


class InvalidDataset(InvalidInput):
    """Rows of the data set cannot be used; nothing was stored."""


class InvalidCursor(InvalidInput):
    """This service has given out no such cursor."""


class UnsupportedFormat(ServiceError):
    """The file's format or content type is not read here."""


class PayloadTooLarge(ServiceError):
    """More bytes or rows than the operator allows."""


class NotAuthenticated(ServiceError):
    """No API key came with the request, or one that is no good; which of the two `key_was_sent` says."""

    def __init__(self, message: str, *, key_was_sent: bool = False) -> None:
        super().__init__(message)
        self.key_was_sent = key_was_sent


class NotPermitted(ServiceError):
    """The API key is good, but lacks the scope that the request needs."""

    def __init__(self, message: str, scope: str | None = None) -> None:
        super().__init__(message)
        self.scope = scope


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaState:
    """Which quota stands in the way, what it allows and how much of it is used."""

    quota: str
    limit: int
    used: int


class QuotaExceeded(ServiceError):
    """The project has as much as it may have; deleting something helps, waiting does not."""

    def __init__(self, message: str, state: QuotaState | None = None) -> None:
        super().__init__(message)
        self.state = state


class QuotaExhausted(QuotaExceeded):
    """The project has as much as it may have for now."""

    def __init__(self, message: str, state: QuotaState | None = None, *, retry_after_seconds: float = 30.0) -> None:
        super().__init__(message, state)
        self.retry_after_seconds = retry_after_seconds


class QuotaTooSmall(QuotaExceeded):
    """This request alone is more than the project may ever have."""


class TooManyRequests(ServiceError):
    """One API key has sent more requests than it may."""

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class HostNotAllowed(ServiceError):
    """The request is for a host that is none of this service's names; a website may have given it our address."""


class KeyNotFound(ServiceError):
    """There is no API key of this id."""


class ProjectNotFound(ServiceError):
    """There is no project of this name."""


class JobNotFound(ServiceError):
    """There is no job of this id."""


class TrainingNotFound(ServiceError):
    """There is no training of this id."""


class WebhookNotFound(ServiceError):
    """There is no webhook of this id."""


class DeliveryNotFound(ServiceError):
    """The webhook has no delivery of this id."""


class ModelNotFound(ServiceError):
    """No scoring backend of this name is configured."""


class WrongState(ServiceError):
    """The job's status does not allow the request."""


class JobNotFinished(WrongState):
    """A request for results before the job has ended."""


class TrainingNotFinished(WrongState):
    """A request for the report or adapter of a training that has not succeeded."""


class JobFinished(WrongState):
    """The job has already ended."""


class WebhookDisabled(WrongState):
    """The webhook is disabled, so nothing is sent to it."""


class IdempotencyMismatch(ServiceError):
    """The same Idempotency-Key came with another request."""


class FailureKind(StrEnum):
    """Why a call to an inference server got no answer that can be used."""

    OVERLOADED = "overloaded"  # 429, or 503 of a full queue: fewer calls at once would have been answered
    TIMED_OUT = "timed_out"  # no answer in time
    DISCONNECTED = "disconnected"  # no connection, or it broke: the server may be another one when it is back
    SERVER = "server"  # it says itself that it failed: 500, 502, 503 while loading, 504, an aborted request
    MALFORMED = "malformed"  # an answer that cannot be read


class BackendError(ServiceError):
    """The inference server did not give what scoring needs.

    Where it was about one row of a prompt tree, `row` is that row's position, and `answered` has the
    log-probabilities (nats) of the tree's rows that were complete before.
    """

    row: int | None = None
    answered: Mapping[int, tuple[float, ...]] = MappingProxyType({})


class BackendUnavailable(BackendError):
    """The inference server cannot be reached, is overloaded or failed; the same call may succeed later.

    `status` is that of the HTTP answer, if there was one. `broke`: the connection broke before the answer. `died`: the
    server was also absent afterwards, and answers other calls since it is back.
    """

    broke = False
    died = False

    def __init__(
        self,
        message: str,
        retry_after_seconds: float | None = None,
        *,
        kind: FailureKind | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.kind = kind or FailureKind.SERVER
        self.status = status


class BackendRefused(BackendError):
    """The inference server answered, but cannot do what scoring needs; the same call would fail again."""


class LabelUnreachable(BackendRefused):
    """The inference server gave no log-probability for a label; none is ever made up."""


class AdapterRefused(BackendRefused):
    """The inference server cannot serve a trained adapter; the text says why, and what to do."""


class BackendChanged(BackendError):
    """The inference server holds another model than the one the job began with; their labels are not mixed."""


class TrainingFailed(ServiceError):
    """A training ended without a result and would end so again; the text is the reason that its process gave."""


class RewardModelUnusable(ServiceError):
    """A reward model cannot be loaded here; the text says what is missing or does not fit."""


class RewardsUnavailable(ServiceError):
    """A reward model gave no rewards: it is not loaded yet, is busy, or its process died; try again."""


class CheckpointTooNew(ServiceError):
    """A later release wrote the checkpoint; it stays, and only that release can resume from it."""


class ConfigUnreadable(ServiceError):
    """Another release stored the configuration of a job or training, and this release cannot read it."""


class RequestTooSlow(ServiceError):
    """The bytes of a request come too slowly for the server to wait for the rest."""


class Overloaded(ServiceError):
    """This process has as much to do as it takes on; the same call may succeed later."""


class SpoolFull(ServiceError):
    """The disk that uploads wait on has no room for this one; the same call may succeed later."""


class ArtifactsUnavailable(ServiceError):
    """The place where files of trainings are kept cannot be reached; the same call may succeed later."""


class ArtifactMissing(ServiceError):
    """The files of a training are not where they were stored, or not as they were."""


class StorageUnavailable(ServiceError):
    """Postgres cannot be reached; the same call may succeed later."""


class StorageFull(StorageUnavailable):
    """The disk of Postgres is full; once there is room the same call may succeed."""


class LeaseLost(ServiceError):
    """This worker no longer holds the work item and must write nothing more."""
