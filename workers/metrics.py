"""Metrics of one worker process, and where they are served."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import orjson
import structlog
from prometheus_client import Counter, Gauge, Histogram, make_wsgi_app

from service.access.hosts import AllowedHosts
from service.errors import HostNotAllowed
from service.observability.metrics import ServiceMetrics
from service.records.observations import TurnEnd
from service.records.work import JOB_KINDS, WorkKind
from service.search.predictions.prompt_tree import Usage

_DATABASE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class WorkMetrics:
    """Counts what a worker tells of its doing."""

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
        self._turns = {(kind, how): turns.labels(kind.value, how.value) for kind in JOB_KINDS for how in TurnEnd}
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
        """A worker has looked for work for so long, and got one or not."""
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

    def ended(self, kind: WorkKind, how: TurnEnd) -> None:
        """A turn at a work item is over."""
        self._turns[kind, how].inc()
        self._busy.set(0)


class _Server(ThreadingMixIn, WSGIServer):
    """Serves each request by a thread, over IPv4 or IPv6 as the address asks for."""

    daemon_threads = True

    def __init__(self, host: str, port: int, app: WSGIApplication) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        super().__init__(address, _QuietHandler)  # type: ignore[arg-type]  # of IPv6 it has four parts
        self.set_app(app)


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing of single requests."""


def _guarded(app: WSGIApplication, allowed: AllowedHosts) -> WSGIApplication:
    """The application for those who ask for it by a name of ours (docs/decisions/0026); to others a problem, 421."""

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
    """Serve a process's metrics from a thread of their own; the port, or None where nobody asked for them.

    They are told to those who ask for the address by a name of its own or one of `hosts`. Where the port cannot be had
    the worker labels all the same and says so: a scraper sees that it is missing.
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
