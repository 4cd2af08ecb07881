"""Works until told to stop: `python -m workers`."""

import asyncio
import os
import signal
import socket
import uuid
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence

import structlog

from service.bootstrap import Application, build_application
from service.identifiers import WorkerId
from service.observability import configure_logging
from service.observability.traces import sent_traces
from service.records.work import WorkKind
from service.settings import Settings, settings_of_process
from workers.handlers import DUTIES, all_kinds
from workers.maintenance import Maintenance
from workers.metrics import WorkMetrics, served_metrics
from workers.periodic_tasks import PeriodicTask, attend
from workers.training_folders import TrainingFolders
from workers.unblocking import Unblocking
from workers.worker import Worker

logger = structlog.get_logger(__name__)


async def work(settings: Settings, kinds: Sequence[WorkKind]) -> None:
    """Run one worker until SIGTERM or SIGINT; the work item at hand is saved and given back."""
    application = build_application(settings)
    worker_id = WorkerId(f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")
    structlog.contextvars.bind_contextvars(worker=worker_id)
    worker = Worker(application, worker_id, WorkMetrics(application.metrics), kinds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    place = (settings.worker.metrics_host, settings.worker.metrics_port)
    with served_metrics(application.metrics, *place, settings.access.hosts) as port:
        logger.info("worker started", metrics_port=port, kinds=[kind.value for kind in kinds])
        beside = asyncio.create_task(attend(_duties(application, kinds)))
        try:
            await worker.run()
        finally:
            beside.cancel()
            await asyncio.wait({beside})
            await application.close()
    logger.info("worker stopped")


def _duties(application: Application, kinds: Sequence[WorkKind]) -> Sequence[PeriodicTask]:
    """What this process does beside work items."""
    settings = application.settings
    return (
        Maintenance(application.store, settings.retention),
        Unblocking(application.store),
        TrainingFolders(settings.search_trainings_folder),
        *(DUTIES[kind](application) for kind in kinds if kind in DUTIES),
    )


def parsed_kinds(text: str) -> tuple[WorkKind, ...]:
    """The kinds of work that somebody lists. Raises ArgumentTypeError."""
    known = {kind.value: kind for kind in all_kinds()}
    names = dict.fromkeys(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in known]:
        told = f"{unknown[0]!r} is no kind of work that this installation can do; list some of {', '.join(known)}"
        raise ArgumentTypeError(told)
    return tuple(known[name] for name in names)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the settings from the environment and work."""
    parser = ArgumentParser(prog="python -m workers", description=__doc__)
    told = f"which work it does, separated by commas, out of {','.join(all_kinds())} (default: all)"
    parser.add_argument("--kinds", type=parsed_kinds, default=all_kinds(), metavar="KINDS", help=told)
    kinds: Sequence[WorkKind] = parser.parse_args(arguments).kinds
    settings = settings_of_process()
    configure_logging(settings.log_format, settings.log_level)
    with sent_traces("icm-worker", settings.telemetry.otlp_endpoint):
        asyncio.run(work(settings, kinds))


if __name__ == "__main__":
    main()
