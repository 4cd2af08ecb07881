"""Serves the API until told to stop: `python -m api`."""

import asyncio
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from service.bootstrap import build_application
from service.observability import configure_logging
from service.settings import Settings

GRACE_SECONDS = 10  # for requests in progress, once told to stop


class _Server(uvicorn.Server):
    """Ends event streams as soon as a signal comes; they would hold the server for as long as their jobs run."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._loop = asyncio.get_running_loop()
        self._stopping: asyncio.Event = app.state.stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._stopping.set)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in progress."""
    application = build_application(settings)
    try:
        app = create_app(application)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        await _Server(config, app).serve()
    finally:
        await application.close()


def main() -> None:
    """Read the settings from the environment and serve."""
    settings = Settings()
    configure_logging(settings.log_format, settings.log_level)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
