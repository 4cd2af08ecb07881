"""Metrics of one worker process, and where they are served."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from prometheus_client import Counter, Gauge, Histogram, start_http_server

from service.observability.metrics import ServiceMetrics
from service.observing_ports import TurnEnd
from service.search.prompt_tree import Usage

_DATABASE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class WorkMetrics:
    """Counts what a worker tells of its doing."""

    def __init__(self, service: ServiceMetrics) -> None:
        registry = service.registry
        self._claims = Histogram(
            "icm_worker_claim_duration_seconds",
            "Time to look for a shard in the queue, by whether there was one",
            ["found"],
            buckets=_DATABASE_SECONDS,
            registry=registry,
        )
        self._saves = Histogram(
            "icm_worker_save_duration_seconds",
            "Time to store labels, checkpoint and cost",
            buckets=_DATABASE_SECONDS,
            registry=registry,
        )
        turns = Counter("icm_worker_turns", "Turns at shards, by how they ended", ["outcome"], registry=registry)
        self._turns = {how: turns.labels(how.value) for how in TurnEnd}
        self._busy = Gauge("icm_worker_busy", "1 while the worker has a shard", registry=registry)
        self._rows = Counter("icm_worker_rows_labelled", "Rows that got their first label", registry=registry)
        self._prompts = Counter("icm_worker_prompts", "Prompts that backends scored", ["backend"], registry=registry)
        self._sent = Counter("icm_worker_tokens_sent", "Tokens of these prompts", ["backend"], registry=registry)
        self._computed = Counter(
            "icm_worker_tokens_computed", "Those that no prefix cache had", ["backend"], registry=registry
        )
        self._recalled = Counter(
            "icm_worker_prompts_remembered", "Prompts answered from memory, at no cost", ["backend"], registry=registry
        )

    def claimed(self, seconds: float, *, found: bool) -> None:
        """A worker has looked for a shard for so long, and got one or not."""
        self._claims.labels("yes" if found else "no").observe(seconds)
        self._busy.set(found)

    def saved(self, seconds: float, *, rows_labelled: int) -> None:
        """Labels, checkpoint and cost were stored in so long; so many rows have a label that had none."""
        self._saves.observe(seconds)
        self._rows.inc(rows_labelled)

    def asked(self, backend: str, usage: Usage) -> None:
        """So much was asked of a backend, and its answers were stored."""
        self._prompts.labels(backend).inc(usage.prompts)
        self._sent.labels(backend).inc(usage.tokens_sent)
        self._computed.labels(backend).inc(usage.tokens_computed)

    def recalled(self, backend: str, prompts: int) -> None:
        """So many prompts were answered from memory."""
        self._recalled.labels(backend).inc(prompts)

    def ended(self, how: TurnEnd) -> None:
        """A turn at a shard is over."""
        self._turns[how].inc()
        self._busy.set(0)


@contextmanager
def served_metrics(metrics: ServiceMetrics, host: str, port: int) -> Iterator[int | None]:
    """Serve a process's metrics from a thread of their own; the port, or None where nobody asked for them.

    Where the port cannot be had the worker labels all the same and says so: a scraper sees that it is missing.
    """
    if not port:
        yield None
        return
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        structlog.get_logger(__name__).error("metrics cannot be served", host=host, port=port, reason=str(error))
        yield None
        return
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
