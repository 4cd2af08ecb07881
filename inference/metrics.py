"""The metrics of `GET /metrics`, in Prometheus' text format; a scrape reads the counters in place."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference.serving import Serving

_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class _State(Collector):
    """Read engine and scheduler at each scrape."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def collect(self) -> Iterator[Metric]:
        engine, scheduler = self._serving.engine, self._serving.scheduler
        counters = (
            ("inference_prompts", "Prompts scored; each further token generated counts again", scheduler.prompts),
            ("inference_batches", "Batches of prompts scored", scheduler.batches),
            ("inference_tokens_sent", "Tokens of the prompts scored", engine.tokens_sent),
            ("inference_tokens_computed", "Those not found in the prefix cache", engine.tokens_computed),
        )
        gauges = (
            ("inference_cache_tokens", "Tokens held in the prefix cache", engine.cached_tokens),
            ("inference_cache_capacity_tokens", "Tokens that it can hold", engine.cache_capacity),
            ("inference_queue_prompts", "Prompts not taken up yet", scheduler.waiting),
            ("inference_requests_in_flight", "Requests under way", self._serving.in_flight),
        )
        for name, text, count in counters:
            yield CounterMetricFamily(name, text, value=count)
        for name, text, level in gauges:
            yield GaugeMetricFamily(name, text, value=level)


class Metrics:
    """The metrics of one server."""

    def __init__(self, serving: Serving) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_State(serving))
        self._latency = Histogram(
            "inference_request_seconds",
            "Time from a request's arrival to its answer",
            ["wire"],
            buckets=_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._refused = Counter(
            "inference_requests_refused", "Requests without an answer", ["reason"], registry=self.registry
        )

    def answered(self, wire: str, seconds: float) -> None:
        """Count an answered request."""
        self._latency.labels(wire).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a failed request."""
        self._refused.labels(reason).inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' format."""
        return generate_latest(self.registry)
