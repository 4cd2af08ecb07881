"""Run the server: load the language model, serve it, stop on SIGTERM and SIGINT."""

import signal
import sys
from socket import socket
from typing import NoReturn

import structlog
import torch
import uvicorn
from transformers.utils.logging import disable_progress_bar

from inference.adapters.registry import Adapters
from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.errors import RequestError
from inference.finding import MODEL_UNUSABLE, end_as_unusable, find
from inference.logs import configure_logging
from inference.model.language_model import Source, load
from inference.ports import PortUnusable, check_port
from inference.settings import Settings, read_settings
from inference.wires.hosts import AllowedHosts

_DRAIN_SECONDS = 10  # time for running requests after a signal


class AnnouncingServer(uvicorn.Server):
    """A server that logs its address as soon as it listens."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Bind, then log the address."""
        await super().startup(sockets)
        for server in self.servers if self.started else []:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                structlog.get_logger().info("ready", url=f"http://{host}:{port}")


def main() -> None:
    """Command line: `python -m inference --model FOLDER_FILE_OR_NAME`."""
    settings = read_settings()
    signal.signal(signal.SIGTERM, _leave)
    configure_logging(settings.log_format, settings.log_level)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    _check_port_or_end(settings)
    engine = _engine_or_end(settings)
    adapters = _adapters_or_end(settings, engine)
    config = uvicorn.Config(
        create_app(engine, settings.limits, AllowedHosts(settings.host, settings.allowed_hosts), adapters),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    _check_port_or_end(settings)  # another process may have taken it while the model loaded
    AnnouncingServer(config).run()


def _check_port_or_end(settings: Settings) -> None:
    """End the process with a line that says why nobody can listen on the port, if that is so."""
    try:
        check_port(settings.host, settings.port)
    except PortUnusable as error:
        structlog.get_logger().error(f"the server cannot start: {error}")
        sys.exit(1)


def _leave(*_: object) -> NoReturn:
    """Treat a signal as no failure; uvicorn raises it again once it has stopped."""
    sys.exit(0)


def _engine_or_end(settings: Settings) -> Engine:
    """Build the engine, or end the process with a line that says why the language model does not load."""
    try:
        return build_engine(settings)
    except Exception as error:  # noqa: BLE001 - the process ends, whatever failed, and names it
        structlog.get_logger().debug("how the loading failed", exc_info=True)
        end_as_unusable(settings.model, _first_sentence(error))


def _adapters_or_end(settings: Settings, engine: Engine) -> Adapters:
    """Load the adapters of the settings, or end the process with a line about the faulty one."""
    adapters = Adapters(engine.language_model, settings.adapter_limits)
    for name, folder in settings.adapter:
        try:
            adapters.add(name, folder)
        except RequestError as error:
            structlog.get_logger().error(
                f"the adapter {name!r} in {str(folder)!r} cannot be served: {_first_sentence(error)}"
            )
            sys.exit(MODEL_UNUSABLE)
    return adapters


def _first_sentence(error: Exception) -> str:
    """The first sentence of an error, on one line."""
    text = str(error).strip().partition("\n\n")[0]
    return " ".join(text.split()) or type(error).__name__


def build_engine(settings: Settings) -> Engine:
    """Load the language model of the settings. Raises ModelMissing, OSError and errors of the libraries."""
    find(settings.model)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    language_model = load(Source(settings.model, settings.device, settings.dtype))
    engine = Engine(language_model, CacheLimits(settings.cache_tokens, settings.pack_tokens))
    structlog.get_logger().info(
        "language model loaded",
        model=settings.model,
        device=language_model.device.type,
        dtype=language_model.precision,
        context_tokens=language_model.context_tokens,
        cache_tokens=engine.cache_capacity,
        threads=torch.get_num_threads(),
    )
    return engine
