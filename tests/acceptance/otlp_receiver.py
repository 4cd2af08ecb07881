"""A tiny OTLP receiver over HTTP on loopback, in place of a collector."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class ReceivedSpan:
    """A received span."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]  # the traces of the spans linked to
    attributes: dict[str, object]
    has_failed: bool


@dataclass
class Receiver:
    """The receiver's address and the spans it has received."""

    url: str
    bodies: list[bytes] = field(default_factory=list)

    def spans(self) -> list[ReceivedSpan]:
        """All spans so far."""
        return [span for body in self.bodies for span in _read(body)]

    def named(self, name: str) -> list[ReceivedSpan]:
        """The spans with this name."""
        return [span for span in self.spans() if span.name == name]


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    """Run a receiver on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Log no requests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received = Receiver(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()


def _read(body: bytes) -> Iterator[ReceivedSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        [service] = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                values = {each.key: each.value for each in span.attributes}
                yield ReceivedSpan(
                    service=service,
                    name=span.name,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    links=tuple(link.trace_id.hex() for link in span.links),
                    attributes={key: getattr(value, value.WhichOneof("value")) for key, value in values.items()},
                    has_failed=span.status.code == span.status.STATUS_CODE_ERROR,
                )
