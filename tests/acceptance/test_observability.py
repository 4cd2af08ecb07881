"""What operators see of a job: log lines that lead from its POST to its last shard, metrics that move, one trace."""

from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.observed import CALLERS_TRACE, REQUEST_ID, ROW_TEXT, ROWS, Observed, observed_run
from tests.support.databases import DATABASES

LEVELS = {"debug", "info", "warning", "error", "critical"}


@pytest.fixture(scope="module")
async def seen(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observed]:
    url = DATABASES.acquire()
    yield await observed_run(url, tmp_path_factory.mktemp("observed"))
    DATABASES.release(url)


def test_every_line_has_time_level_logger_and_message(seen: Observed) -> None:
    for log in (seen.api_log, seen.worker_log):
        lines = seen.lines(log)
        assert lines
        for line in lines:
            assert line["level"] in LEVELS
            assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None
            assert line["event"]
            assert line["logger"]


def test_one_id_leads_from_the_request_to_every_shard(seen: Observed) -> None:
    of_request = [line for line in seen.lines(seen.api_log) if line.get("request_id") == REQUEST_ID]
    assert {line["event"] for line in of_request} == {"request", "audit"}
    assert [line["target"] for line in of_request if line["event"] == "audit"] == [seen.job["id"]]
    of_shards = [line for line in seen.lines(seen.worker_log) if line.get("request_id") == REQUEST_ID]
    ended = {line["shard"] for line in of_shards if line["event"] == "shard ended"}
    assert ended == set(range(seen.shards))
    assert seen.shards > 3


def test_a_workers_lines_during_a_shard_name_shard_project_and_epoch(seen: Observed) -> None:
    lines = seen.lines(seen.worker_log)
    assert len({line["worker"] for line in lines if "worker" in line}) == 1
    during = [line for line in lines if "shard" in line]
    assert len(during) >= 2 * seen.shards
    for line in during:
        assert (line["job"], line["project"], line["epoch"]) == (seen.job["id"], "birds", 1)
        assert line["worker"]


def test_every_request_line_has_an_id_and_names_the_job_it_is_about(seen: Observed) -> None:
    lines = [line for line in seen.lines(seen.api_log) if line["event"] == "request"]
    assert all(line["request_id"] for line in lines)
    about = [line for line in lines if line["route"] == "/v1/jobs/{job_id}" and line["status"] == 200]
    assert {line["job"] for line in about} == {seen.job["id"]}


def test_a_workers_counters_grow_by_the_cost_of_the_job(seen: Observed) -> None:
    values = samples(seen.worker_metrics)
    progress = seen.job["progress"]
    assert values["icm_worker_turns_total", "label", "succeeded"] == seen.shards
    assert values["icm_worker_rows_labelled_total",] == len(ROWS)
    assert values["icm_worker_prompts_total", "twin"] == progress["prompts"]
    assert values["icm_worker_tokens_sent_total", "twin"] == progress["tokens_sent"]
    assert values["icm_worker_tokens_computed_total", "twin"] == progress["tokens_computed"]
    assert values["icm_worker_claim_duration_seconds_count", "yes"] == seen.shards
    assert values["icm_worker_save_duration_seconds_count",] >= seen.shards
    assert values["icm_backend_calls_total", "twin", "answered"] >= seen.shards
    assert values["icm_backend_call_duration_seconds_count", "twin"] == sum(
        value for (name, *_), value in values.items() if name == "icm_backend_calls_total"
    )
    assert values["icm_backend_calls_limit", "twin", "1"] >= 1
    assert values["icm_backend_circuit_open", "twin", "1"] == 0
    assert values["icm_database_connections_max",] == 10


def test_the_api_counts_what_is_stored(seen: Observed) -> None:
    values = samples(seen.api_metrics)
    assert values["icm_database_up",] == 1
    assert values["icm_jobs", "label", "succeeded"] == 1
    assert values["icm_work_items", "label", "queued"] == 0
    assert values["icm_jobs_submitted_total",] == 1
    assert values["icm_rows_submitted_total",] == len(ROWS)


def test_the_request_is_part_of_the_callers_trace_and_contains_the_submission(seen: Observed) -> None:
    [submitted] = [span for span in seen.spans if span.name == "job.submit" and not span.has_failed]
    [request] = [span for span in seen.spans if span.id == submitted.parent]
    assert (request.name, request.trace, request.service) == ("POST /v1/jobs", CALLERS_TRACE, "icm-api")
    assert request.attributes["icm.request_id"] == REQUEST_ID
    assert request.attributes["http.response.status_code"] == 202
    assert submitted.attributes["icm.job"] == seen.job["id"]


def test_every_turn_at_a_shard_is_a_trace_that_is_linked_to_the_request(seen: Observed) -> None:
    turns = [span for span in seen.spans if span.name == "shard.turn"]
    assert len({turn.trace for turn in turns} - {CALLERS_TRACE}) == len(turns) == seen.shards
    for turn in turns:
        assert turn.links == (CALLERS_TRACE,)
        assert turn.parent == ""
        assert turn.attributes["icm.request_id"] == REQUEST_ID
        assert turn.attributes["icm.outcome"] == "succeeded"


def test_steps_are_parts_of_turns_and_calls_parts_of_steps(seen: Observed) -> None:
    spans = {span.id: span for span in seen.spans}
    steps = [span for span in seen.spans if span.name == "search.step"]
    assert {spans[step.parent].name for step in steps} == {"shard.turn"}
    asking = [span for span in seen.spans if span.name == "backend.call" and span.service == "icm-worker"]
    assert "search.step" in {spans[call.parent].name for call in asking if call.parent}
    assert {call.attributes["icm.backend"] for call in asking} == {"twin"}


def test_log_lines_name_the_trace_they_belong_to(seen: Observed) -> None:
    turns = {span.attributes["icm.shard"]: span.trace for span in seen.spans if span.name == "shard.turn"}
    lines = [line for line in seen.lines(seen.worker_log) if line["event"] == "shard ended"]
    assert {line["shard"]: line["trace_id"] for line in lines} == turns


def test_neither_logs_nor_traces_nor_metrics_have_a_row_or_a_key(seen: Observed) -> None:
    everything = (seen.api_log, seen.worker_log, seen.api_metrics, seen.worker_metrics, seen.received.decode("latin-1"))
    for text in everything:
        assert ROW_TEXT not in text
        assert seen.secret[:16] not in text


def samples(exposition: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }
