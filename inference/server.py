"""Runs the server: loads the language model, serves it, stops on SIGTERM and SIGINT."""

import logging
import signal
import sys
from socket import socket
from typing import Literal, NoReturn

import structlog
import torch
import uvicorn
from transformers.utils.logging import disable_progress_bar

from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.gguf_file import UnreadableModel
from inference.hosts import AllowedHosts
from inference.language_model import Source, load
from inference.settings import Settings, read_settings

_DRAIN_SECONDS = 10  # given to requests under way when the server is told to stop


class AnnouncingServer(uvicorn.Server):
    """Says where it listens as soon as it does."""

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
    try:
        engine = build_engine(settings)
    except (OSError, UnreadableModel) as error:
        structlog.get_logger().error("the language model cannot be loaded", model=settings.model, error=str(error))
        sys.exit(1)
    config = uvicorn.Config(
        create_app(engine, settings.limits, AllowedHosts(settings.host, settings.allowed_hosts)),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    AnnouncingServer(config).run()


def _leave(*_: object) -> NoReturn:
    """Being told to stop is no failure; uvicorn hands the signal on once it has stopped."""
    sys.exit(0)


def build_engine(settings: Settings) -> Engine:
    """Load the language model that the settings name. Raises OSError or UnreadableModel where there is none."""
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


def configure_logging(log_format: Literal["console", "json"], level: str) -> None:
    """One form for structlog and the standard library's logging, on stderr; call once per process."""
    before: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in ("httpx", "httpcore", "httpx2", "filelock"):
        logging.getLogger(name).setLevel(logging.WARNING)
