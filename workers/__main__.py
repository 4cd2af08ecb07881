"""Works until told to stop: `python -m workers`."""

import asyncio
import os
import signal
import socket
import uuid
from collections.abc import Sequence

import structlog

from service.bootstrap import Application, build_application, build_sender
from service.identifiers import WorkerId
from service.observability import configure_logging
from service.observability.traces import sent_traces
from service.settings import Settings, settings_of_process
from workers.dispatch import WebhookDispatch
from workers.maintenance import Maintenance
from workers.metrics import WorkMetrics, served_metrics
from workers.periodic_tasks import PeriodicTask, attend
from workers.training_folders import TrainingFolders
from workers.unblocking import Unblocking
from workers.worker import Worker

logger = structlog.get_logger(__name__)


async def work(settings: Settings) -> None:
    """Run one worker until SIGTERM or SIGINT; the shard at hand is saved and given back."""
    application = build_application(settings)
    worker_id = WorkerId(f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")
    structlog.contextvars.bind_contextvars(worker=worker_id)
    worker = Worker(application, worker_id, WorkMetrics(application.metrics))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    place = (settings.worker.metrics_host, settings.worker.metrics_port)
    with served_metrics(application.metrics, *place, settings.access.hosts) as port:
        logger.info("worker started", metrics_port=port)
        beside = asyncio.create_task(attend(_duties(application)))
        try:
            await worker.run()
        finally:
            beside.cancel()
            await asyncio.wait({beside})
            await application.close()
    logger.info("worker stopped")


def _duties(application: Application) -> Sequence[PeriodicTask]:
    """What this process does beside labelling."""
    settings = application.settings
    return (
        Maintenance(application.store, settings.retention),
        Unblocking(application.store),
        WebhookDispatch(application.store, build_sender(settings), settings.webhooks),
        TrainingFolders(settings.search_trainings_folder),
    )


def main() -> None:
    """Read the settings from the environment and work."""
    settings = settings_of_process()
    configure_logging(settings.log_format, settings.log_level)
    with sent_traces("icm-worker", settings.telemetry.otlp_endpoint):
        asyncio.run(work(settings))


if __name__ == "__main__":
    main()
