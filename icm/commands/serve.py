"""The command that runs every part of the service on this machine."""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from icm.commands.failures import BadConfigFile, UnusableBackends
from icm.commands.options import Json, check_model, read_adapters, read_json
from icm.commands.output import on_stderr, on_stdout, write_json, write_line
from icm.local_stack.free_ports import free_port, listening
from icm.local_stack.nearby import something_listens
from icm.local_stack.stack import Backends, StackOptions, Stopped, running
from icm.local_stack.supervisor import POLL_SECONDS
from service.access.authentication import is_loopback
from service.errors import InvalidConfig
from service.scoring import deterministic
from service.setting_faults import NAMES_OF_KINDS
from service.settings import read_settings

_DEFAULT_FOLDER = Path("data")
_A_BACKEND = '[{"name": "default", "kind": "vllm", "url": "http://gpu:8000"}]'
_OPTION, _VARIABLE = "--backends", "ICM_BACKENDS"
_OURS = {"kind": "embedded"}  # whatever its port will be


class StopRequest:
    """A request to stop: by a signal, or by the end of the process that we run for."""

    def __init__(self, parent: int | None) -> None:
        self._parent = parent
        self._was_signalled = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._take_note)

    def is_made(self) -> bool:
        """Whether somebody has requested a stop."""
        return self._was_signalled or (self._parent is not None and os.getppid() != self._parent)

    def _take_note(self, _number: int, _frame: FrameType | None) -> None:
        self._was_signalled = True


def serve(  # noqa: PLR0913 - each is an option that people give
    *,
    host: Annotated[str, typer.Option(help="Address that the API listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 chooses a free one.")] = 8000,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for database and logs. [default: data]")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    model: Annotated[
        str | None,
        typer.Option(help="Language model of the embedded server: a folder, GGUF file or hub name."),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="LoRA adapter of it, as the model NAME of jobs; repeat for several."),
    ] = None,
    database_url: Annotated[str | None, typer.Option(help="URL of a Postgres of yours, version 15 to 18.")] = None,
    backends: Annotated[
        str | None, typer.Option(help="Your scoring backends: JSON, or a file with it (ICM_BACKENDS).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run API, workers, database and inference server until SIGTERM or Ctrl-C."""
    if backends is not None and (model is not None or adapter):
        raise typer.BadParameter("--model and --adapter are for the embedded inference server, --backends for others")
    check_model(model)
    adapters = read_adapters(adapter or ())
    chosen = None if backends is None else read_backends(backends)
    check_settings(host, port, chosen)
    if data_dir is not None and data_dir.exists() and not data_dir.is_dir():
        raise typer.BadParameter(f"{data_dir} is a file; name a folder", param_hint="--data-dir")
    with listening(host, port) as listeners:
        folder = (data_dir or _DEFAULT_FOLDER).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        options = StackOptions(
            data_folder=folder,
            folder_was_named=data_dir is not None,
            host=host,
            port=listeners[0].getsockname()[1],
            listeners=tuple(listener.fileno() for listener in listeners),
            workers=workers,
            language_model=model,
            adapters=adapters,
            database_url=database_url,
            backends=chosen,
            adapter_folder=read_settings(data_dir=folder).adapters_folder.absolute(),
        )
        _run(options, StopRequest(None), as_json=as_json)


def serve_private(
    parent: Annotated[int, typer.Argument(help="Id of the process to run for.")],
    *,
    workers: Annotated[int, typer.Option(min=1)] = 1,
    model: Annotated[str | None, typer.Option()] = None,
    adapter: Annotated[list[str] | None, typer.Option()] = None,
    as_json: Json = False,
) -> None:
    """Run every part on free ports while another process lives, and keep nothing."""
    stop, adapters = StopRequest(parent), read_adapters(adapter or ())
    with tempfile.TemporaryDirectory(prefix="icm-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        folder.chmod(0o711)  # as root, we run Postgres as another user, which must be able to enter
        options = StackOptions(
            data_folder=folder,
            folder_was_named=False,
            port=free_port(),
            workers=workers,
            language_model=model,
            adapters=adapters,
            durable=False,
            private=True,
            adapter_folder=read_settings(data_dir=folder).adapters_folder.absolute(),
        )
        _run(options, stop, as_json=as_json, tell_stage=_tell_stage)


def read_backends(given: str) -> Backends:
    """Read backends from JSON or from a file with it.

    Raises UnusableBackends, and BadParameter if there is no file.
    """
    try:
        text = given if given.lstrip().startswith(("[", "{")) else Path(given).read_text(encoding="utf-8-sig")
        content = read_json(text.encode(), _OPTION)
    except OSError as error:
        message = f"{given} is neither JSON nor a readable file: {error.strerror}"
        raise typer.BadParameter(message, param_hint=_OPTION) from error
    except ValueError as error:
        raise UnusableBackends(f"{_OPTION}: {given} is not UTF-8; save it as UTF-8") from error
    except BadConfigFile as error:
        raise UnusableBackends(str(error)) from error
    found = content if isinstance(content, list) else [content]
    if not found or not all(isinstance(backend, dict) for backend in found):
        raise UnusableBackends(f"{_OPTION}: give a list of objects, such as {_A_BACKEND}")
    return found


def check_settings(host: str, port: int, backends: Backends | None) -> None:
    """Check the settings of API and workers before any part starts. Raises UnusableBackends and InvalidConfig.

    Their other settings come from our environment.
    """
    given: dict[str, object] = {"host": host, "port": port, "backends": [_OURS] if backends is None else backends}
    problems = list(_gaps(backends or ()))
    try:
        read_settings(**given)
    except InvalidConfig as error:
        for fault in error.faults:
            field = fault.field or ""
            if field.startswith(_VARIABLE):
                problems.append(f"{field.replace(_VARIABLE, _OPTION)}: {fault.message}")
        if not problems:
            raise
    if problems:
        raise UnusableBackends("; ".join(problems))


def _gaps(backends: Backends) -> Iterator[str]:
    """What each backend lacks. Our defaults name a server that a user of this option may not have."""
    for number, backend in enumerate(backends):
        if backend and "kind" not in backend:
            yield f"{_OPTION}[{number}].kind: is missing; give {NAMES_OF_KINDS}"
        if backend and "url" not in backend and backend.get("kind") != deterministic.KIND.name:
            yield f"{_OPTION}[{number}].url: is missing; give the address of its server, such as http://gpu:8000"


def _run(
    options: StackOptions, stop: StopRequest, *, as_json: bool, tell_stage: Callable[[str], None] | None = None
) -> None:
    try:
        with running(options, stop.is_made, say=partial(_say, as_json=as_json), tell_stage=tell_stage) as stack:
            _announce(options, as_json=as_json)
            for notice in notices(options):
                _say(notice, as_json=as_json)
            while not stop.is_made():
                stack.check()
                time.sleep(POLL_SECONDS)
    except Stopped:
        return


def notices(options: StackOptions) -> Iterator[str]:
    """What a person may not expect of the inference servers of a service that is ready."""
    if options.backends is None and not options.private and os.environ.get(_VARIABLE):
        yield f"{_VARIABLE} is set, and this service uses its own inference server; to use those: --backends '...'"
    for backend in options.backends or ():
        for url in [backend["url"], *backend.get("replicas", ())] if "url" in backend else ():
            if not something_listens(url):
                name = backend.get("name", "default")
                yield f"nothing listens at {url}, of backend {name!r}: its jobs are refused until one answers"


def _tell_stage(stage: str) -> None:
    """Print a line for `PrivateService`, which reads lines up to the one with the URL."""
    write_json({"stage": stage})


def _say(line: str, *, as_json: bool) -> None:
    """Print a notice for the operator on standard error."""
    if as_json:
        sys.stderr.write(json.dumps({"notice": line}) + "\n")
        sys.stderr.flush()
        return
    on_stderr().print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _announce(options: StackOptions, *, as_json: bool) -> None:
    if as_json:
        write_json({"url": options.url, "data_dir": str(options.data_folder), "pid": os.getpid()})
        return
    write_line(on_stdout(), f"ready: {options.url}  (documentation: {options.url}/docs)")
    if not is_loopback(options.host):
        where = "--database-url ..." if options.database_url else f"--data-dir {options.data_folder}"
        write_line(on_stderr(), f"requests need an API key: icm keys create NAME {where}")
    on_stderr().print(f"logs: {options.data_folder / 'logs'}; Ctrl-C stops all parts", style="dim", soft_wrap=True)
