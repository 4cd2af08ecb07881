"""Spans: reports nested operations with their durations to OpenTelemetry.

Without OpenTelemetry's SDK this does nothing and costs next to nothing, so every layer may use this module. Attributes
are ids, names and counts: never the text of a row, a template, a prompt or a key. A span names a failure by its type,
since the message may contain any of these.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Attributes = Mapping[str, str | int | float | bool]

_TRACER = "icm"
_HEADER = "traceparent"
_W3C = TraceContextTextMapPropagator()


@contextmanager
def span(name: str, attributes: Attributes, *, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[Span]:
    """A span within the current one."""
    with trace.get_tracer(_TRACER).start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as begun:
        try:
            yield begun
        except Exception as error:
            begun.set_attribute("error.type", type(error).__qualname__)
            begun.set_status(StatusCode.ERROR)
            raise


@contextmanager
def span_of_request(name: str, attributes: Attributes, *, traceparent: str | None) -> Iterator[Span]:
    """A span within the caller's own, if the request has a valid `traceparent` header (W3C Trace Context)."""
    token = context.attach(_W3C.extract(_carrier(traceparent)))
    try:
        with span(name, attributes, kind=SpanKind.SERVER) as begun:
            yield begun
    finally:
        context.detach(token)


@contextmanager
def span_of_turn(name: str, attributes: Attributes, *, traceparent: str | None) -> Iterator[Span]:
    """A span that begins a separate trace, linked to the request that created the job.

    A large job has many turns over hours; one trace with all of them would be too large for trace stores.
    """
    origin = _context_of(traceparent)
    token = context.attach(trace.set_span_in_context(INVALID_SPAN))
    try:
        with span(name, attributes, kind=SpanKind.CONSUMER) as begun:
            if origin.is_valid:
                begun.add_link(origin)
            yield begun
    finally:
        context.detach(token)


def annotate(attributes: Attributes) -> None:
    """Add attributes to the current span, if there is one."""
    trace.get_current_span().set_attributes(attributes)


def current_traceparent() -> str | None:
    """The `traceparent` header for the current span, or the caller's without an SDK; None without a span."""
    carrier = dict[str, str]()
    _W3C.inject(carrier)
    return carrier.get(_HEADER)


def current_trace_id() -> str | None:
    """The id of the current span's trace, as 32 hexadecimal digits; None without a span."""
    current = trace.get_current_span().get_span_context()
    return trace.format_trace_id(current.trace_id) if current.is_valid else None


def _context_of(traceparent: str | None) -> SpanContext:
    return trace.get_current_span(_W3C.extract(_carrier(traceparent), context.Context())).get_span_context()


def _carrier(traceparent: str | None) -> dict[str, str]:
    return {} if traceparent is None else {_HEADER: traceparent}
