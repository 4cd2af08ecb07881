"""Sets up OpenTelemetry's SDK to export spans; imported only to send traces, since the SDK is an optional extra."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from threading import Timer

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

_LAST_SECONDS = 3.0  # for retries of the last spans; shorter than the time after which supervisors kill a process
_PATH = "/v1/traces"  # of the OTLP/HTTP specification, below a base address


@contextmanager
def exporting(service_name: str, endpoint: str) -> Iterator[None]:
    """Export spans in batches during the context; `OTEL_SERVICE_NAME` overrides the name given here."""
    name = os.environ.get("OTEL_SERVICE_NAME") or service_name
    resource = Resource.create({SERVICE_NAME: name, SERVICE_VERSION: version("icm-service")})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + _PATH) if endpoint else OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        _send_the_rest(provider, exporter)


def _send_the_rest(provider: TracerProvider, exporter: OTLPSpanExporter) -> None:
    """Send the remaining spans; a collector that does not answer must not keep the process from ending."""
    enough = Timer(_LAST_SECONDS, exporter.shutdown)
    enough.start()
    try:
        provider.shutdown()
    finally:
        enough.cancel()
