"""Run all parts of the service on this machine: database, inference server, API, workers."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
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
_RESTARTS_ONCE_READY = 20  # in a row; with the pauses between them this takes more than a minute
# The service gives up a shard that kills its worker after a few deaths (ICM_QUEUE__MAX_CRASHES), and several such
# shards may follow; isolating a row that kills the inference server takes a dozen (service/jobs/running/isolation.py).
_OFTEN_ONCE_READY = 200
NOTICE_SECONDS = 10.0  # a person who waits longer wants a reason
_FINDING_SECONDS = 60.0  # it ends by itself after some seconds of waiting for the hub; on a busy machine it starts late
_PROBE_SECONDS = 2.0
_MODEL_UNUSABLE = 3  # exit status of `python -m inference` if it cannot load its language model
_METRICS_PORT = "ICM_WORKER__METRICS_PORT"
_BASES = "ICM_TRAINING__BASES"

Backends = Sequence[dict[str, Any]]


class Stopped(Exception):
    """A stop was requested before the service was ready."""


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """The options of `icm serve`."""

    data_folder: Path
    folder_was_named: bool = True  # the service may replace a default folder that the database cannot use
    host: str = "127.0.0.1"
    port: int = 8000
    listeners: tuple[int, ...] = ()  # descriptors of sockets that listen there; none: the API opens its own
    workers: int = 1
    language_model: str | None = None  # folder, GGUF file or hub name for the embedded inference server
    database_url: str | None = None  # none: an embedded Postgres
    adapters: Mapping[str, Path] = field(default_factory=dict)  # LoRA adapters for it: folders by name
    adapter_folder: Path | None = None  # from which the embedded inference server loads those of trainings
    backends: Backends | None = None  # none: an embedded inference server
    durable: bool = True
    private: bool = False  # for one process of this user, which needs no API key whatever the environment says

    @property
    def url(self) -> str:
        """The URL of the API for callers on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def database_folder(self) -> Path:
        """The folder of the embedded Postgres."""
        wished = self.data_folder / "postgres"
        return wished if self.folder_was_named else reachable_root(wished)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The running parts; `check` supervises them."""

    options: StackOptions
    supervisor: Supervisor
    postgres: PostgresSupervisor | None = field(default=None)

    def check(self) -> None:
        """Restart dead parts. Raises PartFailed if a part died too often."""
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
    """Start every part and wait until the API serves requests; end all parts on leaving the context.

    `say` gets a line if the database needs a person's attention, another part dies and restarts, or the language
    model takes long to load. `tell_stage` gets one for each stage of the start, including lines about the language
    model. Raises PartFailed and EmbeddedPostgresError if a part does not start, and Stopped if `is_stopping` becomes
    true before all parts run.
    """
    stage = tell_stage or (lambda _stage: None)
    with ExitStack() as exits:
        postgres = None if options.database_url else exits.enter_context(_keeping(options, say))
        supervisor = exits.enter_context(Supervisor(options.data_folder / "logs", say=say))
        stack = Stack(options=options, supervisor=supervisor, postgres=postgres)
        backends = options.backends
        inference_url = None
        _find_model(stack, tell_stage or say)
        if backends is None:
            stage("starting the inference server")
            inference_url = _start_inference(stack)
            backends = own_backends(options, inference_url)
        if options.adapters:  # the inference server refuses those that do not fit; let nothing else start before
            _load(inference_url, replace(stack, postgres=None), is_stopping, stage=stage, say=tell_stage or say)
        if postgres is not None:
            stage("starting the database")
            postgres.start()
        stage("starting API and workers")
        _start_service(stack, _environment(stack, backends))
        if not options.adapters:
            _load(inference_url, stack, is_stopping, stage=stage, say=tell_stage or say)
        _wait_for(f"{options.url}/health/ready", stack, is_stopping, timeout_seconds=_READY_SECONDS)
        supervisor.ready()
        yield stack


@contextmanager
def _keeping(options: StackOptions, say: Callable[[str], None]) -> Iterator[PostgresSupervisor]:
    """Build the supervisor of the embedded Postgres; the exit stack stops it."""
    server = EmbeddedPostgres(options.database_folder, durable=options.durable)
    reserve = DiskReserve(options.database_folder, size_bytes=BALLAST_BYTES if options.durable else 0)
    try:
        yield PostgresSupervisor(server, reserve, say)
    finally:
        server.stop()


def _find_model(stack: Stack, say: Callable[[str], None]) -> None:
    """Look for a language model that no folder here has, before anything else starts. Raises PartMisused."""
    model = stack.options.language_model
    if model is not None and not Path(model).exists():
        say(f"looking for the language model {model}, here and on the Hugging Face hub")
        finding = Part(
            name="finding", command=_python("inference.finding", "--model", model), misuse_status=_MODEL_UNUSABLE
        )
        stack.supervisor.run(finding, timeout_seconds=_FINDING_SECONDS)


def _start_inference(stack: Stack) -> str:
    port = free_port()
    options = stack.options
    chosen = () if options.language_model is None else ("--model", options.language_model)
    adapters = [word for name, folder in options.adapters.items() for word in ("--adapter", f"{name}={folder}")]
    if options.adapter_folder is not None:
        adapters += ["--adapter-folder", str(options.adapter_folder)]
    command = _python("inference", "--port", str(port), *chosen, *adapters)
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(stack.options.data_folder / "torch")}  # otherwise torch fills /tmp
    part = Part(
        name="inference",
        command=command,
        environment=caches,
        restarts_once_ready=_OFTEN_ONCE_READY,
        misuse_status=_MODEL_UNUSABLE,
    )
    stack.supervisor.start(part)
    return f"http://127.0.0.1:{port}"


def own_backends(options: StackOptions, url: str) -> Backends:
    """Our own inference server as backends: its language model as `default`, and each adapter under its name."""
    base = {"name": "default", "kind": "embedded", "url": url}
    return [base, *({**base, "name": name, "adapter": name} for name in options.adapters)]


def _load(
    url: str | None,
    stack: Stack,
    is_stopping: Callable[[], bool],
    *,
    stage: Callable[[str], None],
    say: Callable[[str], None],
) -> None:
    """Wait until our own inference server, if there is one, has loaded its language model and adapters."""
    if url is not None:
        stage("loading the language model")
        notice = LoadingNotice(stack.supervisor, say)
        _wait_for(f"{url}/health", stack, is_stopping, timeout_seconds=None, meanwhile=notice.when_due)


def _start_service(stack: Stack, environment: dict[str, str]) -> None:
    upgrade = Part(name="migrations", command=_python("migrations", "upgrade"), environment=environment)
    stack.supervisor.run(upgrade, timeout_seconds=_MIGRATION_SECONDS)
    listeners = stack.options.listeners
    handed = [word for descriptor in listeners for word in ("--fd", str(descriptor))]
    api = Part(
        name="api",
        command=_python("api", *handed),
        environment=environment,
        stage=1,
        restarts=_RESTARTS,
        restarts_once_ready=_RESTARTS_ONCE_READY,
        descriptors=listeners,
    )
    stack.supervisor.start(api)
    apart = can_train() and not stack.options.private  # a training lasts for hours, in which nobody else would label
    kinds = ("--kinds", "label,deliver") if apart else ()
    workers = [(f"worker-{number + 1}", kinds) for number in range(stack.options.workers)]
    workers += [("trainer", ("--kinds", "train"))] if apart else []
    for number, (name, words) in enumerate(workers, 1):
        worker = Part(
            name=name,
            command=_python("workers", *words),
            environment={**environment, **metrics_port(number)},
            stage=1,
            restarts=_RESTARTS,
            restarts_once_ready=_OFTEN_ONCE_READY,
        )
        stack.supervisor.start(worker)


def metrics_port(number: int) -> dict[str, str]:
    """The requested port serves the first worker's metrics, the next port those of the second."""
    first = os.environ.get(_METRICS_PORT, "")
    return {_METRICS_PORT: str(int(first) + number - 1)} if first.isdecimal() and int(first) else {}


def _environment(stack: Stack, backends: Backends) -> dict[str, str]:
    """The environment from which API, workers and migrations read their settings (service/settings.py)."""
    options = stack.options
    url = options.database_url or (stack.postgres.url if stack.postgres is not None else "")
    without_proxy = [os.environ.get("NO_PROXY", ""), "127.0.0.1", "localhost"]
    return {
        "ICM_DATABASE_URL": url,
        "ICM_BACKENDS": json.dumps(list(backends)),
        "ICM_DATA_DIR": str(options.data_folder),
        "ICM_HOST": options.host,
        "ICM_PORT": str(options.port),
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
    """Variables that override our own environment."""
    without_keys = {"ICM_ACCESS__REQUIRED": "false"} if options.private else {}
    # Our own inference server takes a while to load, and callers who wait for the API want to send a job.
    with_backend = {"ICM_SERVER__READY_WITH_BACKEND": "true"} if options.backends is None else {}
    return {**without_keys, **with_backend}


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command of an installed module; -P ignores folders of the same name in the current directory."""
    return (sys.executable, "-P", "-m", module, *arguments)


class LoadingNotice:
    """Print the last log line of the inference server if it loads for long."""

    def __init__(self, supervisor: Supervisor, say: Callable[[str], None]) -> None:
        self._supervisor = supervisor
        self._say = say
        self._next = time.monotonic() + NOTICE_SECONDS
        self._last = ""

    def when_due(self) -> None:
        """Print the line if it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + NOTICE_SECONDS
        line = self._supervisor.last_line("inference") or "its log says nothing yet"
        if line != self._last:
            self._last = line
            self._say(f"the inference server still loads the language model: {line}")


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
