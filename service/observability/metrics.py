"""The metrics that API and workers share: calls to backends, the pool of database connections, the process.

`api/metrics.py` and `workers/metrics.py` add the metrics of one of them. Labels have few values: names of
backends, numbers of their servers, outcomes. Job ids, paths and projects are never labels.
"""

from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from service.ports.observers import PoolLoad, ServerLoad
from service.records.observations import CallEnd

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_CALL_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class ServiceMetrics:
    """The shared metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Gauge("icm_build_info", "Always 1; the release is a label", ["version"], registry=self.registry)
        build.labels(version("icm-service")).set(1)
        self._calls = Counter(
            "icm_backend_calls",
            "Calls to inference servers, by how they ended",
            ["backend", "outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "icm_backend_call_duration_seconds",
            "Duration of a call, without the wait for a slot",
            ["backend"],
            buckets=_CALL_SECONDS,
            registry=self.registry,
        )
        self._loads = _Loads()
        self.registry.register(self._loads)

    def calls_to(self, backend: str) -> "CallMetrics":
        """The observer that counts the calls to a backend; every outcome starts at 0."""
        return CallMetrics(
            {end: self._calls.labels(backend, end.value) for end in CallEnd}, self._seconds.labels(backend)
        )

    def watch_server(self, backend: str, number: int, load: ServerLoad) -> None:
        """Read the load of this server at every scrape."""
        self._loads.servers[backend, str(number)] = load

    def watch_pool(self, load: PoolLoad) -> None:
        """Read the use of the database connections at every scrape."""
        self._loads.pool = load

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class CallMetrics:
    """Counts the calls to one backend, and measures their duration."""

    def __init__(self, ends: dict[CallEnd, Counter], seconds: Histogram) -> None:
        self._ends = ends
        self._seconds = seconds

    def called(self, seconds: float, how: CallEnd) -> None:
        """See CallObserver."""
        self._ends[how].inc()
        self._seconds.observe(seconds)


class _Loads(Collector):
    """Collects gauges of servers and of the connection pool at each scrape."""

    def __init__(self) -> None:
        self.servers: dict[tuple[str, str], ServerLoad] = {}
        self.pool: PoolLoad | None = None

    def collect(self) -> Iterator[Metric]:
        """The gauges with their present values."""
        names = ["backend", "server"]
        under_way = GaugeMetricFamily("icm_backend_calls_in_flight", "Calls in flight at a server", labels=names)
        limit = GaugeMetricFamily("icm_backend_calls_limit", "Current limit of calls in flight", labels=names)
        circuit = GaugeMetricFamily(
            "icm_backend_circuit_open", "1 while the circuit breaker of a server is open", labels=names
        )
        for which, load in list(self.servers.items()):
            under_way.add_metric(which, load.under_way)
            limit.add_metric(which, load.limit)
            circuit.add_metric(which, load.left_alone)
        yield from (under_way, limit, circuit)
        if self.pool is not None:
            used, most = self.pool.connections_in_use, self.pool.max_connections
            yield GaugeMetricFamily("icm_database_connections_in_use", "Connections in use by this process", value=used)
            yield GaugeMetricFamily(
                "icm_database_connections_max", "Largest number of connections of this process", value=most
            )
