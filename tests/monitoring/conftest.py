"""Fixtures with every metric, as both processes register them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import Metric

from api.metrics import ApiMetrics
from service.observability.metrics import ServiceMetrics
from service.records.jobs import JobStatus
from service.records.observations import JobStatistics
from service.records.work import JOB_KINDS, WorkKind, WorkStatus
from service.scoring.calls.executor import CallExecutor
from service.search.predictions.prompt_tree import Usage
from tests.support.memory import MemoryStore
from workers.metrics import WorkMetrics

ROOT = Path(__file__).parents[2]
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",), "info": ("_info",)}


@dataclass(frozen=True)
class Registered:
    """A metric with its labels."""

    metric: Metric
    labels: frozenset[str]

    @property
    def series(self) -> set[str]:
        """The names of the metric's series in queries."""
        return {self.metric.name + suffix for suffix in _SUFFIXES[self.metric.type]}

    @property
    def documented_name(self) -> str:
        """The name in the documentation."""
        return f"{self.metric.name}_total" if self.metric.type == "counter" else self.metric.name


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
async def registered(anyio_backend: str) -> Mapping[str, Registered]:
    """The metrics of an API and a worker process, each with a backend and a database, without process metrics."""
    found = {}
    for process in (await _api(), _worker()):
        for metric in process.registry.collect():
            if metric.name.startswith("process_"):
                continue
            labels = frozenset(label for sample in metric.samples for label in sample.labels) - {"le"}
            found[metric.name] = Registered(metric, labels)
    return found


async def _api() -> ServiceMetrics:
    service = _driven()
    metrics = ApiMetrics(service)
    metrics.requests.labels("GET", "/v1/jobs", 200).inc()
    metrics.seconds.labels("GET", "/v1/jobs").observe(0.1)
    await metrics.exposition(_no_jobs)
    return service


async def _no_jobs() -> Mapping[WorkKind, JobStatistics]:
    no_jobs, no_items = dict.fromkeys(JobStatus, 0), dict.fromkeys(WorkStatus, 0)
    return dict.fromkeys(JOB_KINDS, JobStatistics(jobs=no_jobs, items=no_items))


def _worker() -> ServiceMetrics:
    service = _driven()
    metrics = WorkMetrics(service)
    metrics.claimed(0.1, found=True)
    metrics.scored("twin", Usage(prompts=1, tokens_sent=3, tokens_computed=2))
    metrics.recalled("twin", 1)
    return service


def _driven() -> ServiceMetrics:
    service = ServiceMetrics()
    service.calls_to("twin")
    service.watch_server("twin", 1, CallExecutor(concurrency=1))
    service.watch_pool(MemoryStore().load)
    return service
