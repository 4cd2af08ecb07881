"""Metrics of one API process: its requests, and counts of stored objects of all projects."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

import structlog
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.errors import StorageUnavailable
from service.observability.metrics import ServiceMetrics
from service.records.observations import JobStatistics
from service.records.work import WorkKind

Census = Mapping[WorkKind, JobStatistics]
TakeCensus = Callable[[], Awaitable[Census]]

CENSUS_SECONDS = 5.0  # minimum interval between two counts in the database
_PATIENCE_SECONDS = 3.0  # time-out of the database; well below the time-out of scrapers


class ApiMetrics:
    """Count requests by route template (never by raw path, which has no bound), jobs and rows."""

    def __init__(self, service: ServiceMetrics) -> None:
        self._service = service
        registry = service.registry
        self.requests = Counter(
            "icm_http_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "icm_http_request_duration_seconds", "Time to the end of the answer", ["method", "route"], registry=registry
        )
        self.in_progress = Gauge("icm_http_requests_in_progress", "Requests being answered", registry=registry)
        self.jobs = Counter("icm_jobs_submitted", "Jobs taken in", registry=registry)
        self.rows = Counter("icm_rows_submitted", "Rows taken in", registry=registry)
        self.streams = Gauge("icm_event_streams_open", "Event streams open", registry=registry)
        self._stock = _Stock()
        registry.register(self._stock)

    async def exposition(self, job_statistics: TakeCensus) -> bytes:
        """Return all metrics in Prometheus' text format, without those of the database while it is away."""
        await self._stock.take(job_statistics)
        return self._service.exposition()


class _Stock(Collector):
    """Counts of stored objects, at most every few seconds."""

    def __init__(self) -> None:
        self._census: Census | None = None
        self._good_until = 0.0
        self._turn = asyncio.Lock()

    async def take(self, job_statistics: TakeCensus) -> None:
        """Count again if the last count is old; concurrent scrapers share one count."""
        async with self._turn:
            if time.monotonic() < self._good_until:
                return
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    self._census = await job_statistics()
            except (StorageUnavailable, TimeoutError) as error:
                self._census = None
                structlog.get_logger("api").warning("jobs cannot be counted", reason=str(error) or "no answer in time")
            self._good_until = time.monotonic() + CENSUS_SECONDS

    def collect(self) -> Iterator[Metric]:
        """The gauges of the last count."""
        census = self._census
        yield GaugeMetricFamily("icm_database_up", "1 while the database answers", value=census is not None)
        if census is None:
            return
        jobs = _gauge("icm_jobs", "Jobs stored, by status", "status")
        items = _gauge("icm_work_items", "Work items of jobs that have not ended, by status", "status")
        oldest = _gauge(
            "icm_queue_oldest_item_age_seconds",
            "Time that the oldest work item which could be claimed has been queued, from its job's creation on",
        )
        crashes = _gauge("icm_work_item_crashes", "Crashes without progress of work items whose jobs have not ended")
        for kind, found in census.items():
            for status, number in found.jobs.items():
                jobs.add_metric([kind.value, status.value], number)
            for item_status, number in found.items.items():
                items.add_metric([kind.value, item_status.value], number)
            oldest.add_metric([kind.value], found.oldest_queued_seconds)
            crashes.add_metric([kind.value], found.crashes)
        yield from (jobs, items, oldest, crashes)


def _gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, labels=["kind", *labels])
