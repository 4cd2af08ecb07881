"""Serve the API until a signal: `python -m api`."""

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.edge.connections import bounded
from service.access.authentication import needs_key
from service.access.issuing import list_keys
from service.bootstrap import Application, build_application
from service.errors import StorageUnavailable
from service.observability import configure_logging
from service.observability.traces import sent_traces
from service.settings import Settings, settings_of_process

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_NOTICE_SECONDS = 5.0  # for the check for a key, before the server accepts requests
_SWITCH_SECONDS = 0.0001  # after which a thread that checks a data set yields to the event loop; Python's own is 5 ms
GRACE_SECONDS = 10  # for running requests, after the signal


class _Server(uvicorn.Server):
    """End event streams on a signal; otherwise they would keep the server alive as long as their jobs run."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._stopping: asyncio.Event = app.state.stopping

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal, at once on a second one; such a stop is no failure."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._stopping.set()


async def serve(settings: Settings, sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish running requests.

    The sockets listen already; without them the server opens one by the settings.
    """
    application = build_application(settings)
    try:
        await _warn_without_keys(application)
        app = create_app(application)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            http=bounded(settings.server),
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        await _Server(config, app).serve(sockets)
    finally:
        await application.close()


async def _warn_without_keys(application: Application) -> None:
    """Log how to make the first key if requests need one and there is none."""
    settings = application.settings
    if not needs_key(settings.host, required=settings.access.required):
        return
    log = structlog.get_logger("api")
    try:
        async with asyncio.timeout(_NOTICE_SECONDS):
            keys = await list_keys(application.store)
    except (StorageUnavailable, TimeoutError) as error:
        log.warning("the database cannot be reached; every request needs an API key", reason=str(error))
        return
    if not any(key.revoked_at is None for key in keys):
        log.warning(
            "there is no API key, so every request but /health is refused; make one on this machine",
            command="icm keys create NAME --project default --scope read --scope write",
        )


def main() -> None:
    """Read the settings from the environment and serve, on inherited sockets if there are any."""
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("--fd", type=int, action="append", help="descriptor of a socket that listens; may be repeated")
    given: list[int] | None = parser.parse_args().fd
    settings = settings_of_process()
    configure_logging(settings.log_format, settings.log_level)
    sys.setswitchinterval(_SWITCH_SECONDS)
    with sent_traces("icm-api", settings.telemetry.otlp_endpoint):
        sockets = [socket.socket(fileno=number) for number in given or ()]
        asyncio.run(serve(settings, sockets or None))


if __name__ == "__main__":
    main()
