"""Collects the metrics of one worker process, and serves them over HTTP."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import orjson
import structlog
from prometheus_client import Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from service.access.hosts import AllowedHosts
from service.errors import HostNotAllowed
from service.observability.metrics import ServiceMetrics
from service.records.observations import TurnEnd
from service.records.work import JOB_KINDS, WorkKind
from service.search.predictions.prompt_tree import Usage

_DATABASE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class WorkMetrics:
    """The observer that counts a worker's turns, saves and prompts as Prometheus metrics."""

    def __init__(self, service: ServiceMetrics) -> None:
        registry = service.registry
        self._claims = Histogram(
            "icm_worker_claim_duration_seconds",
            "Time to look for work in the queue, by whether there was one",
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
        turns = Counter(
            "icm_worker_turns", "Turns at work items, by how they ended", ["kind", "outcome"], registry=registry
        )
        self._turns = {(kind, end): turns.labels(kind.value, end.value) for kind in JOB_KINDS for end in TurnEnd}
        self._busy = Gauge("icm_worker_busy", "1 while the worker has a work item", registry=registry)
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
        """Record how long a claim took, and whether it found a work item."""
        self._claims.labels("yes" if found else "no").observe(seconds)
        self._busy.set(found)

    def saved(self, seconds: float, *, rows_labelled: int) -> None:
        """Record how long a save took, and how many rows got their first label."""
        self._saves.observe(seconds)
        self._rows.inc(rows_labelled)

    def scored(self, backend: str, usage: Usage) -> None:
        """Count prompts and tokens that a backend has answered."""
        self._prompts.labels(backend).inc(usage.prompts)
        self._sent.labels(backend).inc(usage.tokens_sent)
        self._computed.labels(backend).inc(usage.tokens_computed)

    def recalled(self, backend: str, prompts: int) -> None:
        """Count prompts that the answer memory has answered."""
        self._recalled.labels(backend).inc(prompts)

    def ended(self, kind: WorkKind, end: TurnEnd) -> None:
        """Count the end of a turn with a work item."""
        self._turns[kind, end].inc()
        self._busy.set(0)


class _Server(ThreadingWSGIServer):
    """Serves over IPv4 or IPv6, depending on the address."""

    def __init__(self, host: str, port: int, app: WSGIApplication) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        super().__init__(address, _QuietHandler)  # type: ignore[arg-type]  # of IPv6 it has four parts
        self.set_app(app)


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Log no single requests."""


def _guarded(app: WSGIApplication, allowed: AllowedHosts) -> WSGIApplication:
    """The application, which answers 421 to requests for a host name that is not ours (docs/decisions/0026)."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            allowed.check([environ["HTTP_HOST"]] if "HTTP_HOST" in environ else [])
        except HostNotAllowed as error:
            status = HTTPStatus.MISDIRECTED_REQUEST
            start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/problem+json")])
            problem = {"type": "urn:icm:problem:host-not-allowed", "title": "Host not allowed", "status": status}
            return [orjson.dumps({**problem, "detail": str(error)})]
        return app(environ, start_response)

    return answer


@contextmanager
def served_metrics(metrics: ServiceMetrics, host: str, port: int, hosts: Iterable[str] = ()) -> Iterator[int | None]:
    """Serve a process's metrics in a separate thread; yields the port, or None if they are not served.

    It answers requests for the address's own names and for `hosts`. If it cannot open the port, the worker logs an
    error and works without metrics; the scraper notices that they are missing.
    """
    if not port:
        yield None
        return
    try:
        server = _Server(host, port, _guarded(make_wsgi_app(metrics.registry), AllowedHosts(host, hosts)))
    except OSError as error:
        structlog.get_logger(__name__).error("metrics cannot be served", host=host, port=port, reason=str(error))
        yield None
        return
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
