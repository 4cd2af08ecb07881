"""Spans: what took how long within what, told to whoever set up OpenTelemetry's SDK, and to nobody otherwise.

The API package alone does nothing and costs next to nothing, so every layer may use this module. Attributes are
ids, names and counts: never the text of a row, a template, a prompt or a key. A failure is told by its type, since
its message may hold any of these.
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
    """A span within the caller's own, where the request has a good `traceparent` header (W3C Trace Context)."""
    token = context.attach(_W3C.extract(_carrier(traceparent)))
    try:
        with span(name, attributes, kind=SpanKind.SERVER) as begun:
            yield begun
    finally:
        context.detach(token)


@contextmanager
def span_of_turn(name: str, attributes: Attributes, *, traceparent: str | None) -> Iterator[Span]:
    """A span that begins a trace of its own, linked to the request that it works for.

    A job has as many turns as it has shards, over hours; in one trace with the request they would be more
    than trace stores take.
    """
    asked_by = _context_of(traceparent)
    token = context.attach(trace.set_span_in_context(INVALID_SPAN))
    try:
        with span(name, attributes, kind=SpanKind.CONSUMER) as begun:
            if asked_by.is_valid:
                begun.add_link(asked_by)
            yield begun
    finally:
        context.detach(token)


def annotate(attributes: Attributes) -> None:
    """Say more of the current span, where there is one."""
    trace.get_current_span().set_attributes(attributes)


def current_traceparent() -> str | None:
    """The current span as others can refer to it, the caller's own where there is no SDK; None where there is none."""
    carrier = dict[str, str]()
    _W3C.inject(carrier)
    return carrier.get(_HEADER)


def current_trace_id() -> str | None:
    """The id of the current span's trace, as 32 hexadecimal digits; None where there is no span."""
    found = trace.get_current_span().get_span_context()
    return trace.format_trace_id(found.trace_id) if found.is_valid else None


def _context_of(traceparent: str | None) -> SpanContext:
    return trace.get_current_span(_W3C.extract(_carrier(traceparent), context.Context())).get_span_context()


def _carrier(traceparent: str | None) -> dict[str, str]:
    return {} if traceparent is None else {_HEADER: traceparent}
