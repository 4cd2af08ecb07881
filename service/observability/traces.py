"""Sends a process's traces to an OpenTelemetry endpoint, if the operator names one.

The rest of the code creates spans only by OpenTelemetry's API (`service/spans.py`). If the operator names an
endpoint, this module loads the SDK, which sends them by OTLP over HTTP. The standard variables configure
everything else (`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_...`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_STANDARD = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class TelemetryNotInstalled(SystemExit):
    """The operator asks for traces, but the packages that send them are not installed; the process exits at once."""


@contextmanager
def sent_traces(service_name: str, endpoint: str) -> Iterator[None]:
    """Send the process's spans during the context, the last ones at its end.

    The spans go to this endpoint, such as `http://collector:4318`. If it is empty, OpenTelemetry's own variables
    name the endpoint. If neither is set, the SDK is not loaded. Raises TelemetryNotInstalled.
    """
    if not (endpoint or any(os.environ.get(name) for name in _STANDARD)):
        yield
        return
    try:
        from service.observability.otlp import exporting  # noqa: PLC0415 - the extra may not be installed, nor needed
    except ImportError as error:
        raise TelemetryNotInstalled(
            f"traces are to be sent ({error.name} is missing); install the extra: pip install 'icm-service[telemetry]'"
        ) from error
    with exporting(service_name, endpoint):
        yield
