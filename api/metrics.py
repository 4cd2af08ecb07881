"""Prometheus metrics of one API process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class ApiMetrics:
    """Counts requests by route template (never by raw path, of which there is no end) and what they brought."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "icm_http_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "icm_http_request_duration_seconds",
            "Time to the end of the answer",
            ["method", "route"],
            registry=self.registry,
        )
        self.in_progress = Gauge("icm_http_requests_in_progress", "Requests being answered", registry=self.registry)
        self.jobs = Counter("icm_jobs_submitted", "Jobs taken in", registry=self.registry)
        self.rows = Counter("icm_rows_submitted", "Rows taken in", registry=self.registry)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
