"""Runs a worker process until a signal stops it: `python -m workers`."""

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
from workers.handlers import PERIODIC_TASKS, all_kinds
from workers.maintenance import Maintenance
from workers.metrics import WorkMetrics, served_metrics
from workers.periodic_tasks import PeriodicTask, run_forever
from workers.training_folders import TrainingFolders
from workers.unblocking import Unblocking
from workers.worker import Worker

logger = structlog.get_logger(__name__)


async def work(settings: Settings, kinds: Sequence[WorkKind]) -> None:
    """Run one worker until SIGTERM or SIGINT; then it saves and releases its work item."""
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
        beside = asyncio.create_task(run_forever(_periodic_tasks(application, kinds)))
        try:
            await worker.run()
        finally:
            beside.cancel()
            await asyncio.wait({beside})
            await application.close()
    logger.info("worker stopped")


def _periodic_tasks(application: Application, kinds: Sequence[WorkKind]) -> Sequence[PeriodicTask]:
    """The tasks that this process repeats beside its work items."""
    settings = application.settings
    return (
        Maintenance(application.store, settings.retention),
        Unblocking(application.store),
        TrainingFolders(settings.search_trainings_folder),
        *(PERIODIC_TASKS[kind](application) for kind in kinds if kind in PERIODIC_TASKS),
    )


def parsed_kinds(text: str) -> tuple[WorkKind, ...]:
    """Parse a comma-separated list of kinds of work. Raises ArgumentTypeError."""
    known = {kind.value: kind for kind in all_kinds()}
    names = dict.fromkeys(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in known]:
        message = f"{unknown[0]!r} is no kind of work that this installation can do; list some of {', '.join(known)}"
        raise ArgumentTypeError(message)
    return tuple(known[name] for name in names)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the settings from the environment and run a worker."""
    parser = ArgumentParser(prog="python -m workers", description=__doc__)
    usage = f"kinds of work to do, separated by commas, out of {','.join(all_kinds())} (default: all)"
    parser.add_argument("--kinds", type=parsed_kinds, default=all_kinds(), metavar="KINDS", help=usage)
    kinds: Sequence[WorkKind] = parser.parse_args(arguments).kinds
    settings = settings_of_process()
    configure_logging(settings.log_format, settings.log_level)
    with sent_traces("icm-worker", settings.telemetry.otlp_endpoint):
        asyncio.run(work(settings, kinds))


if __name__ == "__main__":
    main()
