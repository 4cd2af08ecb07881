"""What the operator decides, read once from the environment by the doors and handed down.

Nested groups are written with two underscores: `ICM_QUEUE__LEASE_SECONDS=30`.
"""

import json
import os
import re
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, ClassVar, Literal, get_origin

from pydantic import (
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
from service.gone_settings import gone_of, tell_gone
from service.scoring.kinds import DEFAULT, Backend
from service.setting_faults import fault_of
from service.values import nearest

_HOST_NAME = re.compile(r"\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f]*:[0-9a-f:.]+")

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+")
_PLACE = re.compile(r"(?:s3|gs|gcs|abfs|abfss|hdfs|viewfs|file)://.*[^/:].*")  # what pyarrow.fs reaches


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    gone: ClassVar[frozenset[str]] = frozenset()  # names that are passed over

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
    poll_seconds: float = Field(2.0, gt=0, description="how often workers look without being notified")
    checkpoint_seconds: float = Field(2.0, ge=0, description="how often a running shard is saved, at most")
    max_crashes: int = Field(5, ge=1, description="crashes without progress after which a work item is failed")
    retry_seconds: float = Field(
        5.0, gt=0, description="the first wait of a paused job before its backend is tried again; each next one doubles"
    )
    max_retry_seconds: float = Field(60.0, gt=0, description="the longest such wait")


class MemorySettings(_Group):
    """What backends have answered, kept so that no prompt is asked twice."""

    max_answers: int = Field(
        2_000_000, ge=0, description="prompts remembered at most, about 170 bytes each with two labels; 0: none"
    )


class UploadSettings(_Group):
    """What is accepted for upload."""

    gone = gone_of("upload")
    max_bytes: int = 2_000_000_000
    max_rows: int = 1_000_000
    max_row_bytes: int = 64_000
    max_parquet_memory_bytes: int = Field(
        512_000_000, ge=64_000_000, description="of the process that reads a Parquet file; two run at once"
    )


class ServerSettings(_Group):
    """What slow, stalled and many clients may have of one API process."""

    gone = gone_of("server")
    max_connections: int = Field(800, ge=1, description="open at once; who comes beyond that is answered 503")
    header_seconds: float = Field(20.0, gt=0, description="in which a request's head has to be complete")
    body_seconds: float = Field(20.0, gt=0, description="of waiting in which min_bytes of a body have to arrive")
    stalled_seconds: float = Field(60.0, gt=0, description="in which a reader has to take min_bytes of an answer")
    min_bytes: int = Field(10_000, ge=1, description="fewer are too slow, unless there are no more")
    uploads_at_once: int = Field(2, ge=1, description="large data sets that are checked and stored at once")
    min_free_bytes: int = Field(100_000_000, ge=0, description="of disk space that uploads leave to others")
    ready_with_backend: bool = Field(
        default=False, description="/health/ready says 503 until the default backend has answered once"
    )


class AccessSettings(_Group):
    """Who may come in."""

    required: bool = Field(
        default=False,
        description="ask for an API key on the loopback address, too; beyond it one is always needed",
    )
    requests_per_minute: int = Field(6000, ge=0, description="of one API key to one API process; 0: any number")
    allowed_hosts: str = Field(
        "",
        description="names by which it is asked for, such as icm.example.com,*.example.org; *: any (docs/access.md)",
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        hosts_of(value)
        return value

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that are allowed beside those of the address listened on."""
        return hosts_of(self.allowed_hosts)


class QuotaSettings(_Group):
    """How much a project may have that has no quotas of its own (`icm projects limit`); 0 is no limit."""

    jobs_in_flight: int = Field(0, ge=0, description="jobs that have not ended")
    rows: int = Field(0, ge=0, description="rows stored at once")
    bytes: int = Field(0, ge=0, description="bytes of the rows stored at once")
    tokens_per_day: int = Field(0, ge=0, description="tokens computed between two midnights (UTC)")
    event_streams: int = Field(500, ge=0, description="event streams open at once at one API process")


class WebhookSettings(_Group):
    """Where webhooks may lead, and how they are sent."""

    gone = gone_of("webhooks")
    allowed_networks: str = Field(
        "", description="networks of receivers that are not public, such as 10.1.0.0/16,fd00:1::/64"
    )
    allow_http: bool = Field(default=False, description="also send without TLS")
    max_endpoints: int = Field(20, ge=0, description="of one project")
    timeout_seconds: float = Field(20.0, gt=0, le=60, description="for one try, all of it")

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        networks_of(value)
        return value

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks that are allowed beyond public addresses."""
        return networks_of(self.allowed_networks)


def networks_of(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks written one behind the other with commas between. Raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def hosts_of(text: str) -> tuple[str, ...]:
    """Host names written one behind the other with commas between. Raises ValueError."""
    names = tuple(part.strip().lower().strip("[]") for part in text.split(",") if part.strip())
    for name in names:
        if _HOST_NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no host: give names without scheme and port, such as icm.example.com")
    return names


class WorkerSettings(_Group):
    """Worker processes."""

    metrics_port: int = Field(0, ge=0, le=65535, description="where a worker serves its metrics; 0: nowhere")
    metrics_host: str = "127.0.0.1"


class TrainingSettings(_Group):
    """Trainings (docs/training.md)."""

    bases: dict[str, str] = Field(
        default_factory=dict,
        description="language models to start from: by the name of a backend, a folder or a name on the hub",
    )
    artifacts: str = Field("", description="where files of trainings are kept: a folder, or a URL such as s3://bucket")
    adapters: str = Field(
        "",
        description="folder from which inference servers read trained adapters; empty: that of artifacts, or "
        "`adapters` in the data folder if artifacts have a URL",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(1, ge=1, description="of torch on the CPU; more than 1 gives other bytes")
    at_once: int = Field(1, ge=1, description="trainings of searches side by side in one worker process")

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
    """Traces by OpenTelemetry, which need the extra `telemetry`; its own variables (OTEL_...) hold besides."""

    otlp_endpoint: str = Field("", description="such as http://collector:4318; empty: none are sent")


class RetentionSettings(_Group):
    """How long things are kept (docs/retention.md), in days or parts of days; 0 is for good."""

    idempotency_keys_hours: int = Field(48, ge=24, description="Idempotency-Keys, since their first use")
    events_days: float = Field(30, ge=0, description="events of jobs since their end; those that end a log stay")
    jobs_days: float = Field(0, ge=0, description="jobs with their data, labels and reports, since their end")
    usage_days: float = Field(400, ge=0, description="how many tokens a project had computed on a day")
    deliveries_days: float = Field(30, ge=0, description="messages to webhooks, but for those still to be sent")
    audit_days: float = Field(365, ge=0, description="entries of the audit log")
    every_seconds: float = Field(60.0, gt=0, description="how often a worker process looks for what is older")


class Settings(BaseSettings):
    """Everything, in groups."""

    model_config = SettingsConfigDict(
        env_prefix="ICM_",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # it may hold a key
    )

    database_url: SecretStr = Field(
        SecretStr("postgresql+asyncpg://icm:icm@127.0.0.1:5432/icm"),
        validation_alias=AliasChoices("ICM_DATABASE_URL", "DATABASE_URL"),
    )
    data_dir: Path = Path("data")
    host: str = "127.0.0.1"
    port: int = 8000
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
        """Where files of trainings are kept, as all processes find them."""
        return self.training.artifacts or str(self.data_dir / "artifacts")

    @property
    def adapters_folder(self) -> Path:
        """Where inference servers find the files of trained adapters."""
        if self.training.adapters:
            return Path(self.training.adapters).expanduser()
        place = self.artifacts_place
        return self.data_dir / "adapters" if "://" in place else Path(place).expanduser()

    @property
    def training_folder(self) -> Path:
        """Where a worker trains, on its own machine."""
        return self.data_dir / "trainings"

    @property
    def search_trainings_folder(self) -> Path:
        """Where a worker trains for searches, on its own machine."""
        return self.data_dir / "trainings-of-searches"

    @property
    def reward_models_folder(self) -> Path:
        """Where files of reward models lie while a process of this machine loads them."""
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
    """The environment's settings, and those that are given. Raises InvalidConfig, which names each one at fault."""
    try:
        settings = Settings(**given)  # type: ignore[arg-type]  # what does not fit is told
    except ValidationError as error:
        faults = [
            fault_of(found, _no_such_setting)
            for found in error.errors(include_url=False, include_context=False, include_input=False)
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
    """The variables of this setting that hold JSON by their type and not in fact."""
    for name, value in os.environ.items():
        head, _, inner = name.lower().removeprefix("icm_").partition("__")
        field = _GROUPS.get(head, {}).get(inner)
        if head == setting and (not inner or (field is not None and get_origin(field.annotation) is dict)):
            try:
                json.loads(value)
            except ValueError:
                yield name.upper()


def _misspelt() -> Iterator[Fault]:
    """Variables that would be passed over: of a group that there is not, or with one underscore where two belong.

    Others that begin with ICM_ are none of ours to judge: the command line has some, and Kubernetes sets ICM_PORT_...
    """
    meant = {name.replace("__", "_"): name for name in _VARIABLES}
    for name in map(str.upper, os.environ):
        group, nested, _ = name.removeprefix("ICM_").partition("__")
        unknown = name.startswith("ICM_") and nested and group.lower() not in Settings.model_fields
        if unknown or name in meant:
            yield Fault(_no_such_setting(meant.get(name, name)), field=name)


def _files_for_folders(settings: Settings) -> Iterator[Fault]:
    """Files where a process is to make a folder."""
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
    """The environment's settings, for a process that cannot do without; it ends with what is wrong with them."""
    tell_gone(os.environ)
    try:
        return read_settings()
    except InvalidConfig as error:
        lines = [str(error), *(f"  {fault.field}: {fault.message}" for fault in error.faults)]
        raise SystemExit("\n".join(lines)) from None
