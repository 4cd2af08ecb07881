"""OpenTelemetry's SDK, set up; imported only where traces are sent, since the extra `telemetry` has it."""

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

_LAST_SECONDS = 3.0  # for trying to send the last spans again, below what supervisors wait before they kill
_PATH = "/v1/traces"  # of the OTLP/HTTP specification, below a base address


@contextmanager
def exporting(service_name: str, endpoint: str) -> Iterator[None]:
    """Send spans in batches; `OTEL_SERVICE_NAME` goes before the name given here."""
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
    """Send what is left; a collector that is away must not keep the process from its end."""
    enough = Timer(_LAST_SECONDS, exporter.shutdown)
    enough.start()
    try:
        provider.shutdown()
    finally:
        enough.cancel()
