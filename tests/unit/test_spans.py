"""Spans by OpenTelemetry's API: what they record with its SDK, and that they record nothing without it."""

import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode

from service.errors import BackendUnavailable
from service.spans import current_trace_id, current_traceparent, span, span_of_request, span_of_turn
from tests.support.running.workplace import Workplace
from tests.support.stored import queued

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans that have ended."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def test_a_span_records_a_failures_type_and_not_its_message(made: InMemorySpanExporter) -> None:
    with pytest.raises(BackendUnavailable), span("outer", {}), span("inner", {"icm.shard": 3}):
        raise BackendUnavailable("it said: marmalade")
    inner, outer = made.get_finished_spans()
    for failed in (inner, outer):
        assert failed.status.status_code is StatusCode.ERROR
        assert failed.attributes is not None
        assert failed.attributes["error.type"] == "BackendUnavailable"
        assert "marmalade" not in failed.to_json()
    assert inner.parent == outer.get_span_context()


async def test_a_span_that_is_cancelled_has_not_failed(made: InMemorySpanExporter) -> None:
    async def waits() -> None:
        with span("waits", {}):
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    [cancelled] = made.get_finished_spans()
    assert cancelled.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("header", [None, "", "00-zz-zz-01", "icm_abcdefghijkl_secret", f"00-{'0' * 32}-{'0' * 16}-01"])
def test_a_request_without_a_good_header_begins_a_trace(made: InMemorySpanExporter, header: str | None) -> None:
    with span_of_request("GET", {}, traceparent=header):
        assert current_trace_id() not in {None, TRACE}
    [begun] = made.get_finished_spans()
    assert begun.parent is None


def test_a_request_within_a_callers_trace_stays_in_it(made: InMemorySpanExporter) -> None:
    with span_of_request("GET", {}, traceparent=TRACEPARENT):
        assert current_trace_id() == TRACE
        told = current_traceparent()
    [begun] = made.get_finished_spans()
    assert told == f"00-{TRACE}-{trace.format_span_id(ids(begun).span_id)}-01"


def test_a_turn_begins_a_trace_with_a_link_wherever_it_is_taken(made: InMemorySpanExporter) -> None:
    with span("somebody else's", {}), span_of_turn("turn", {}, traceparent=TRACEPARENT):
        assert current_trace_id() != TRACE
    turn, other = made.get_finished_spans()
    assert turn.parent is None
    assert ids(turn).trace_id != ids(other).trace_id
    assert [trace.format_trace_id(link.context.trace_id) for link in turn.links] == [TRACE]


def test_a_turn_for_an_unknown_request_has_no_link(made: InMemorySpanExporter) -> None:
    with span_of_turn("turn", {}, traceparent=None):
        pass
    assert [turn.links for turn in made.get_finished_spans()] == [()]


async def test_a_turn_says_how_it_ended(made: InMemorySpanExporter) -> None:
    workplace = Workplace()
    job_id = await queued(workplace.store)
    await workplace.worker.work_once()
    [turn] = [ended for ended in made.get_finished_spans() if ended.name == "shard.turn"]
    assert turn.attributes is not None
    assert (turn.attributes["icm.job"], turn.attributes["icm.outcome"]) == (job_id, "succeeded")


# `tests/architecture/test_import_contracts.py` says that no process has even loaded the SDK.
def test_without_an_endpoint_nothing_is_recorded_and_the_callers_trace_is_passed_on() -> None:
    with span("a", {}) as quiet:
        assert not quiet.is_recording()
        assert (current_traceparent(), current_trace_id()) == (None, None)
    with span_of_request("b", {}, traceparent=TRACEPARENT), span("c", {}):
        assert current_traceparent() == TRACEPARENT


def ids(ended: ReadableSpan) -> SpanContext:
    found = ended.get_span_context()
    assert found is not None
    return found
