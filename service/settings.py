"""The operator's settings, which each process reads once from the environment.

Two underscores separate a group from its setting: `ICM_QUEUE__LEASE_SECONDS=30`.
"""

import json
import os
import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_origin

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from service.errors import Fault, InvalidConfig
from service.gone_settings import gone_of, report_gone
from service.scoring.kinds import DEFAULT, Backend
from service.setting_faults import database_with_port, fault_of, with_port
from service.values import nearest

_HOST_NAME = re.compile(r"\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f]*:[0-9a-f:.]+")

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+")
_PLACE = re.compile(r"(?:s3|gs|gcs|abfs|abfss|hdfs|viewfs|file)://.*[^/:].*")  # what pyarrow.fs reaches


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    gone: ClassVar[frozenset[str]] = frozenset()  # names of removed settings, which are ignored

    @model_validator(mode="before")
    @classmethod
    def _without_gone(cls, values: Any) -> Any:
        has_gone = isinstance(values, dict) and not cls.gone.isdisjoint(map(str.lower, values))
        return {name: values[name] for name in values if name.lower() not in cls.gone} if has_gone else values


class DatabaseSettings(_Group):
    """Connections to Postgres 15-18."""

    gone = gone_of("database")
    pool_size: int = 10


class QueueSettings(_Group):
    """The lease queue."""

    lease_seconds: float = Field(30.0, gt=0, description="a worker renews after a third of it")
    poll_seconds: float = Field(
        2.0, gt=0, description="how often workers poll the queue, in case a notification is lost"
    )
    checkpoint_seconds: float = Field(2.0, ge=0, description="shortest time between two saves of a running shard")
    max_crashes: int = Field(5, ge=1, description="a work item fails after this many crashes without progress")
    retry_seconds: float = Field(
        5.0, gt=0, description="how long a paused job waits before a worker tries its backend again; doubles each time"
    )
    max_retry_seconds: float = Field(60.0, gt=0, description="the longest such wait")


class MemorySettings(_Group):
    """The answer memory: stored answers of backends."""

    max_answers: int = Field(
        2_000_000, ge=0, description="most stored answers, of about 170 bytes each with two labels; 0: none"
    )


class UploadSettings(_Group):
    """Limits on uploads."""

    gone = gone_of("upload")
    max_bytes: int = 2_000_000_000
    max_rows: int = 1_000_000
    max_row_bytes: int = 64_000
    max_parquet_memory_bytes: int = Field(
        512_000_000, ge=64_000_000, description="of the process that reads a Parquet file; two run at once"
    )


class ServerSettings(_Group):
    """Limits of one API process on slow, stalled and many clients."""

    gone = gone_of("server")
    max_connections: int = Field(800, ge=1, description="most open connections; further ones get 503")
    header_seconds: float = Field(20.0, gt=0, description="time for a request's head to arrive")
    body_seconds: float = Field(20.0, gt=0, description="waiting time for min_bytes of a body to arrive")
    stalled_seconds: float = Field(60.0, gt=0, description="time for a reader to take min_bytes of an answer")
    min_bytes: int = Field(
        10_000, ge=1, description="fewer than this in that time are too slow, unless they are the last"
    )
    uploads_at_once: int = Field(2, ge=1, description="large data sets that one process checks and stores concurrently")
    min_free_bytes: int = Field(100_000_000, ge=0, description="disk space that uploads leave free")
    ready_with_backend: bool = Field(
        default=False, description="/health/ready says 503 until the default backend has answered once"
    )


class AccessSettings(_Group):
    """Who may use the API."""

    required: bool = Field(
        default=False,
        description="demand an API key on the loopback address, too; other addresses always demand one",
    )
    requests_per_minute: int = Field(6000, ge=0, description="of one API key to one API process; 0: any number")
    allowed_hosts: str = Field(
        "",
        description="host names that it answers to, such as icm.example.com,*.example.org; *: any (docs/access.md)",
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        hosts_of(value)
        return value

    @property
    def hosts(self) -> tuple[str, ...]:
        """The allowed host names beside those of its own address."""
        return hosts_of(self.allowed_hosts)


class QuotaSettings(_Group):
    """Default quotas, for a project without its own (`icm projects limit`); 0 is no limit."""

    jobs_in_flight: int = Field(0, ge=0, description="jobs that have not ended")
    rows: int = Field(0, ge=0, description="rows stored at once")
    bytes: int = Field(0, ge=0, description="bytes of the rows stored at once")
    tokens_per_day: int = Field(0, ge=0, description="tokens computed between two midnights (UTC)")
    event_streams: int = Field(500, ge=0, description="event streams open at once at one API process")


class WebhookSettings(_Group):
    """Allowed receivers of webhooks, and how workers send them."""

    gone = gone_of("webhooks")
    allowed_networks: str = Field(
        "", description="networks of receivers that are not public, such as 10.1.0.0/16,fd00:1::/64"
    )
    allow_http: bool = Field(default=False, description="also send without TLS")
    max_endpoints: int = Field(20, ge=0, description="of one project")
    timeout_seconds: float = Field(20.0, gt=0, le=60, description="for one whole attempt")

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        networks_of(value)
        return value

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The allowed networks beside public addresses."""
        return networks_of(self.allowed_networks)


def networks_of(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse networks separated by commas. Raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def hosts_of(text: str) -> tuple[str, ...]:
    """Parse host names separated by commas. Raises ValueError."""
    names = tuple(part.strip().lower().strip("[]") for part in text.split(",") if part.strip())
    for name in names:
        if _HOST_NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no host: give names without scheme and port, such as icm.example.com")
    return names


class WorkerSettings(_Group):
    """Worker processes."""

    metrics_port: int = Field(0, ge=0, le=65535, description="port of a worker's metrics; 0: a worker serves none")
    metrics_host: str = "127.0.0.1"


class TrainingSettings(_Group):
    """Trainings (docs/training.md)."""

    bases: dict[str, str] = Field(
        default_factory=dict,
        description="language models to start from: for the name of a backend, a folder or hub name",
    )
    artifacts: str = Field("", description="the artifact store: a folder, or a URL such as s3://bucket")
    adapters: str = Field(
        "",
        description="folder from which inference servers read trained adapters; empty: that of artifacts, or "
        "`adapters` in the data folder if artifacts have a URL",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(1, ge=1, description="threads of torch on the CPU; more than 1 gives other bytes")
    at_once: int = Field(1, ge=1, description="concurrent trainings of searches in one worker process")

    @field_validator("bases")
    @classmethod
    def _are_named(cls, value: dict[str, str]) -> dict[str, str]:
        for name, base in value.items():
            if not name.strip() or not base.strip():
                raise ValueError(f"must give {name!r} the folder of a language model or its name on the hub")
        return value

    @field_validator("artifacts")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        scheme, colon, _ = value.partition(":")
        if colon and _SCHEME.fullmatch(scheme) and not _PLACE.fullmatch(value):
            raise ValueError(f"must be a folder, or a URL with a place in it such as s3://bucket; {value!r} is neither")
        return value


class TelemetrySettings(_Group):
    """Traces by OpenTelemetry, which need the extra `telemetry`; its own variables (OTEL_...) apply, too."""

    otlp_endpoint: Annotated[str, AfterValidator(with_port)] = Field(
        "", description="such as http://collector:4318; empty: no traces"
    )


class RetentionSettings(_Group):
    """Retention periods (docs/retention.md), in days or parts of days; 0 keeps data for ever."""

    idempotency_keys_hours: int = Field(48, ge=24, description="Idempotency-Keys, since their first use")
    events_days: float = Field(30, ge=0, description="events of jobs, since their end; the last events of a log stay")
    jobs_days: float = Field(0, ge=0, description="jobs with their data, labels and reports, since their end")
    usage_days: float = Field(400, ge=0, description="daily token counts of projects")
    deliveries_days: float = Field(30, ge=0, description="messages to webhooks, except pending ones")
    audit_days: float = Field(365, ge=0, description="entries of the audit log")
    every_seconds: float = Field(60.0, gt=0, description="how often a worker process looks for older data")


class Settings(BaseSettings):
    """All settings, in groups."""

    model_config = SettingsConfigDict(
        env_prefix="ICM_",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # it may hold a key
    )

    database_url: Annotated[SecretStr, AfterValidator(database_with_port)] = Field(
        SecretStr("postgresql+asyncpg://icm:icm@127.0.0.1:5432/icm"),
        validation_alias=AliasChoices("ICM_DATABASE_URL", "DATABASE_URL"),
    )
    data_dir: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    log_format: Literal["console", "json"] = "console"
    log_level: str = "INFO"
    database: DatabaseSettings = DatabaseSettings()
    queue: QueueSettings = QueueSettings()
    memory: MemorySettings = MemorySettings()
    upload: UploadSettings = UploadSettings()
    server: ServerSettings = ServerSettings()
    access: AccessSettings = AccessSettings()
    quota: QuotaSettings = QuotaSettings()
    webhooks: WebhookSettings = WebhookSettings()
    worker: WorkerSettings = WorkerSettings()
    training: TrainingSettings = TrainingSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    retention: RetentionSettings = RetentionSettings()
    backends: tuple[Backend, ...] = (DEFAULT(),)

    @property
    def artifacts_place(self) -> str:
        """The folder or URL of the artifact store, the same for all processes."""
        return self.training.artifacts or str(self.data_dir / "artifacts")

    @property
    def adapters_folder(self) -> Path:
        """The folder from which inference servers read trained adapters."""
        if self.training.adapters:
            return Path(self.training.adapters).expanduser()
        place = self.artifacts_place
        return self.data_dir / "adapters" if "://" in place else Path(place).expanduser()

    @property
    def training_folder(self) -> Path:
        """The folder in which a worker trains, on its own machine."""
        return self.data_dir / "trainings"

    @property
    def search_trainings_folder(self) -> Path:
        """The folder in which a worker makes the trainings of searches, on its own machine."""
        return self.data_dir / "trainings-of-searches"

    @property
    def reward_models_folder(self) -> Path:
        """The folder for files of reward models while a process of this machine loads them."""
        return self.data_dir / "reward-models"

    @field_validator("backends")
    @classmethod
    def _have_names_of_their_own(cls, value: tuple[Backend, ...]) -> tuple[Backend, ...]:
        names = [backend.name for backend in value]
        if not names:
            raise ValueError("at least one backend is needed")
        if len(set(names)) < len(names):
            raise ValueError(
                f"two backends have the same name: {', '.join(names)}; give each a `name` of its own, which is "
                "'default' where it is left out"
            )
        return value


def read_settings(**given: object) -> Settings:
    """Read the environment's settings; `given` ones replace them. Raises InvalidConfig, which names each fault."""
    try:
        settings = Settings(**given)  # type: ignore[arg-type]  # pydantic reports values of other types
    except ValidationError as error:
        faults = [
            fault_of(each, _no_such_setting)
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise InvalidConfig(_UNUSABLE, faults) from None
    except SettingsError as error:
        named = re.search(r'field "(\w+)"', str(error))
        variables = list(_without_json(named[1])) if named else []
        faults = [Fault("is not valid JSON", field=name) for name in variables]
        raise InvalidConfig(_UNUSABLE, faults or [Fault("one is not valid JSON")]) from None
    if faults := [*_misspelt(), *_files_for_folders(settings)]:
        raise InvalidConfig(_UNUSABLE, faults)
    return settings


_UNUSABLE = "the settings cannot be used"
_GROUPS = {
    name: field.annotation.model_fields
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, _Group)
}
_VARIABLES = [f"ICM_{group}__{name}".upper() for group, fields in _GROUPS.items() for name in fields]


def _without_json(setting: str) -> Iterator[str]:
    """The variables of this setting that should hold JSON and do not."""
    for name, value in os.environ.items():
        head, _, inner = name.lower().removeprefix("icm_").partition("__")
        field = _GROUPS.get(head, {}).get(inner)
        if head == setting and (not inner or (field is not None and get_origin(field.annotation) is dict)):
            try:
                json.loads(value)
            except ValueError:
                yield name.upper()


def _misspelt() -> Iterator[Fault]:
    """A fault for each variable that pydantic would ignore: an unknown group, or one underscore in place of two.

    It accepts other variables that begin with ICM_: the command line has some, and Kubernetes sets ICM_PORT_...
    """
    meant = {name.replace("__", "_"): name for name in _VARIABLES}
    for name in map(str.upper, os.environ):
        group, nested, _ = name.removeprefix("ICM_").partition("__")
        unknown = name.startswith("ICM_") and nested and group.lower() not in Settings.model_fields
        if unknown or name in meant:
            yield Fault(_no_such_setting(meant.get(name, name)), field=name)


def _files_for_folders(settings: Settings) -> Iterator[Fault]:
    """A fault for each file that stands in place of a folder."""
    for name, place in (
        ("ICM_DATA_DIR", str(settings.data_dir)),
        ("ICM_TRAINING__ARTIFACTS", settings.artifacts_place),
        ("ICM_TRAINING__ADAPTERS", settings.training.adapters),
    ):
        if Path(place).expanduser().is_file():
            yield Fault(f"must be a folder; {place!r} is a file", field=name)


def _no_such_setting(name: str) -> str:
    near = nearest(name, _VARIABLES)
    return f"there is no such setting; did you mean {near[0]}?" if near else "there is no such setting"


def settings_of_process() -> Settings:
    """Read the environment's settings, or end the process with their faults."""
    report_gone(os.environ)
    try:
        return read_settings()
    except InvalidConfig as error:
        lines = [str(error), *(f"  {fault.field}: {fault.message}" for fault in error.faults)]
        raise SystemExit("\n".join(lines)) from None
