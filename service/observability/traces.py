"""Traces: whether any are sent, and where to.

The code makes spans by OpenTelemetry's API alone (`service/spans.py`). Only here, and only where the operator names an
endpoint, its SDK is loaded and told to send them by OTLP over HTTP; everything else about them is set by the
standard variables (`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_...`).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_STANDARD = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class TelemetryNotInstalled(SystemExit):
    """Traces are asked for, and the packages that send them are not there: the process ends before it has begun."""


@contextmanager
def sent_traces(service_name: str, endpoint: str) -> Iterator[None]:
    """Send the process's spans for as long as the context lasts, the last ones at its end.

    To this endpoint, such as `http://collector:4318`; where it is empty, to the one of OpenTelemetry's own
    variables; where neither is set nothing is loaded. Raises TelemetryNotInstalled.
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
