"""All parts of the service on this machine: database, inference server, API, workers."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

from icm.local_stack.disk_reserve import BALLAST_BYTES, DiskReserve
from icm.local_stack.embedded_postgres import EmbeddedPostgres, reachable_root
from icm.local_stack.free_ports import free_port
from icm.local_stack.postgres_supervisor import PostgresSupervisor
from icm.local_stack.supervisor import POLL_SECONDS, Part, PartFailed, Supervisor
from service.training_process.installed import can_train

_MIGRATION_SECONDS = 120.0
_READY_SECONDS = 120.0  # for the API; the inference server may have to download its language model first
_RESTARTS = 3
_RESTARTS_ONCE_READY = 20  # in a row, which with the pauses between them is more than a minute
# A shard that kills its worker is given up after a few deaths (ICM_QUEUE__MAX_CRASHES), and one may follow the other;
# a row that kills the inference server is found by a dozen deaths (service/jobs/running/isolation.py).
_OFTEN_ONCE_READY = 200
NOTICE_SECONDS = 10.0  # a person who waits longer wants to know what for
_PROBE_SECONDS = 2.0
_MODEL_UNUSABLE = 3  # how `python -m inference` ends where it cannot load the language model it was given
_METRICS_PORT = "ICM_WORKER__METRICS_PORT"
_BASES = "ICM_TRAINING__BASES"

Backends = Sequence[dict[str, Any]]


class Stopped(Exception):
    """The service was told to stop before it was ready."""


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What `icm serve` was told."""

    data_folder: Path
    folder_was_named: bool = True  # an unnamed one may be replaced where the database cannot use it
    host: str = "127.0.0.1"
    port: int = 8000
    listeners: tuple[int, ...] = ()  # descriptors of sockets that listen there; none: the API opens its own
    workers: int = 1
    language_model: str | None = None  # folder, GGUF file or hub name for the embedded inference server
    database_url: str | None = None  # none: an embedded Postgres
    backends: Backends | None = None  # none: an embedded inference server
    durable: bool = True
    private: bool = False  # for one process of this user, which needs no API key whatever the environment says

    @property
    def url(self) -> str:
        """Where the API answers for callers on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def database_folder(self) -> Path:
        """Where the embedded Postgres keeps its files."""
        wished = self.data_folder / "postgres"
        return wished if self.folder_was_named else reachable_root(wished)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The running parts; `check` says whether they still are."""

    options: StackOptions
    supervisor: Supervisor
    postgres: PostgresSupervisor | None = field(default=None)

    def check(self) -> None:
        """Start again what may be started again. Raises PartFailed where a part is gone for good."""
        if self.postgres is not None:
            self.postgres.check()
        self.supervisor.check()


@contextmanager
def running(
    options: StackOptions,
    is_stopping: Callable[[], bool],
    *,
    say: Callable[[str], None],
    tell_stage: Callable[[str], None] | None = None,
) -> Iterator[Stack]:
    """Start every part and wait until requests can be served; end them all at the end.

    `say` gets a line whenever the database needs a person's eye, another part has died and is started
    again, or the language model takes long to load; `tell_stage` one for everything that is waited for, those about
    the language model among them. Raises PartFailed and EmbeddedPostgresError where a part
    cannot be started, and Stopped where `is_stopping` says so before they all run.
    """
    stage = tell_stage or _tell_nothing
    with ExitStack() as exits:
        postgres = None if options.database_url else exits.enter_context(_keeping(options, say))
        supervisor = exits.enter_context(Supervisor(options.data_folder / "logs", say=say))
        stack = Stack(options=options, supervisor=supervisor, postgres=postgres)
        backends = options.backends
        inference_url = None
        if backends is None:
            stage("starting the inference server")
            inference_url = _start_inference(stack)
            backends = [{"name": "default", "kind": "embedded", "url": inference_url}]
        if postgres is not None:
            stage("starting the database")
            postgres.start()
        stage("starting API and workers")
        _start_service(stack, _environment(stack, backends))
        if inference_url is not None:
            stage("loading the language model")
            notice = LoadingNotice(supervisor, tell_stage or say)
            _wait_for(f"{inference_url}/health", stack, is_stopping, timeout_seconds=None, meanwhile=notice.when_due)
        _wait_for(f"{options.url}/health/ready", stack, is_stopping, timeout_seconds=_READY_SECONDS)
        supervisor.ready()
        yield stack


def _tell_nothing(_stage: str) -> None:
    return


@contextmanager
def _keeping(options: StackOptions, say: Callable[[str], None]) -> Iterator[PostgresSupervisor]:
    """The keeper of an embedded Postgres that is yet to be started, and is stopped at the end."""
    server = EmbeddedPostgres(options.database_folder, durable=options.durable)
    reserve = DiskReserve(options.database_folder, size_bytes=BALLAST_BYTES if options.durable else 0)
    try:
        yield PostgresSupervisor(server, reserve, say)
    finally:
        server.stop()


def _start_inference(stack: Stack) -> str:
    port = free_port()
    chosen = () if stack.options.language_model is None else ("--model", stack.options.language_model)
    command = _python("inference", "--port", str(port), *chosen)
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(stack.options.data_folder / "torch")}  # else it litters /tmp
    part = Part(
        name="inference",
        command=command,
        environment=caches,
        restarts_once_ready=_OFTEN_ONCE_READY,
        misuse_status=_MODEL_UNUSABLE,
    )
    stack.supervisor.start(part)
    return f"http://127.0.0.1:{port}"


def _start_service(stack: Stack, environment: dict[str, str]) -> None:
    upgrade = Part(name="migrations", command=_python("migrations", "upgrade"), environment=environment)
    stack.supervisor.run(upgrade, timeout_seconds=_MIGRATION_SECONDS)
    listeners = stack.options.listeners
    handed = [word for descriptor in listeners for word in ("--fd", str(descriptor))]
    doors = [("api", _python("api", *handed), environment)]
    apart = can_train() and not stack.options.private  # a training lasts for hours, in which nobody else would label
    kinds = ("--kinds", "label,deliver") if apart else ()
    doors += [
        (f"worker-{number}", _python("workers", *kinds), {**environment, **metrics_port(number)})
        for number in range(1, stack.options.workers + 1)
    ]
    if apart:
        number = stack.options.workers + 1
        doors.append(("trainer", _python("workers", "--kinds", "train"), {**environment, **metrics_port(number)}))
    for name, command, its_environment in doors:
        often = _RESTARTS_ONCE_READY if name == "api" else _OFTEN_ONCE_READY
        part = Part(
            name=name,
            command=command,
            environment=its_environment,
            stage=1,
            restarts=_RESTARTS,
            restarts_once_ready=often,
            descriptors=listeners if name == "api" else (),
        )
        stack.supervisor.start(part)


def metrics_port(number: int) -> dict[str, str]:
    """The port that was asked for serves the first worker's metrics, the next one those of the second."""
    first = os.environ.get(_METRICS_PORT, "")
    return {_METRICS_PORT: str(int(first) + number - 1)} if first.isdecimal() and int(first) else {}


def _environment(stack: Stack, backends: Backends) -> dict[str, str]:
    """What API, workers and migrations read their settings from (service/settings.py)."""
    options = stack.options
    url = options.database_url or (stack.postgres.url if stack.postgres is not None else "")
    without_proxy = [os.environ.get("NO_PROXY", ""), "127.0.0.1", "localhost"]
    return {
        "ICM_DATABASE_URL": url,
        "ICM_BACKENDS": json.dumps(list(backends)),
        "ICM_DATA_DIR": str(options.data_folder),
        "ICM_HOST": options.host,
        "ICM_PORT": str(options.port),
        **training_bases(options),
        "NO_PROXY": ",".join(filter(None, without_proxy)),
        **training_bases(options),
        **api_settings(options),
    }


def training_bases(options: StackOptions) -> dict[str, str]:
    """Trainings start from the language model of the embedded inference server, unless the environment has others."""
    found = find_spec("inference")
    if options.backends is not None or _BASES in os.environ or found is None or found.origin is None:
        return {}
    model = options.language_model or str(Path(found.origin).parent / "small_model")
    return {} if model.endswith(".gguf") else {_BASES: json.dumps({"default": model})}


def api_settings(options: StackOptions) -> dict[str, str]:
    """What goes before the environment that we were started in."""
    without_keys = {"ICM_ACCESS__REQUIRED": "false"} if options.private else {}
    # Our own inference server takes a while to load; whoever waits for the API wants to send a job.
    with_backend = {"ICM_SERVER__READY_WITH_BACKEND": "true"} if options.backends is None else {}
    return {**without_keys, **with_backend}


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    """Run an installed module; -P keeps folders of the same name where we were started from out of it."""
    return (sys.executable, "-P", "-m", module, *arguments)


class LoadingNotice:
    """Says what the inference server is doing, whenever it has taken long over something new."""

    def __init__(self, supervisor: Supervisor, say: Callable[[str], None]) -> None:
        self._supervisor = supervisor
        self._say = say
        self._next = time.monotonic() + NOTICE_SECONDS
        self._said = ""

    def when_due(self) -> None:
        """Say it, if it is time to."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + NOTICE_SECONDS
        line = self._supervisor.last_line("inference") or "nothing in its log yet"
        if line != self._said:
            self._said = line
            self._say(f"the language model is still being loaded: {line}")


def _wait_for(
    url: str,
    stack: Stack,
    is_stopping: Callable[[], bool],
    *,
    timeout_seconds: float | None,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    started = time.monotonic()
    with httpx.Client(timeout=_PROBE_SECONDS, trust_env=False) as http:
        while not _answers(http, url):
            stack.check()
            meanwhile()
            if is_stopping():
                raise Stopped
            if timeout_seconds is not None and time.monotonic() - started > timeout_seconds:
                raise PartFailed("api", f"does not answer at {url} after {timeout_seconds:g} s", "")
            time.sleep(POLL_SECONDS)


def _answers(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(url).is_success
    except httpx.TransportError:
        return False
