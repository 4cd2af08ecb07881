"""Messages of webhooks stay small, whatever the job's name and whatever its error quotes."""

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.identifiers import new_job_id, new_training_id
from service.lifecycle import JobState
from service.lifecycle.messages import MAX_BODY_BYTES, is_reported, job_message
from service.records.jobs import JobStatus
from service.records.work import WorkKind
from service.webhooks.messages import trial_message

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
TEXT = st.text(st.characters(), max_size=30).map(lambda text: text * 500)


def test_a_message_names_the_job_and_where_to_ask_for_more() -> None:
    job_id = new_job_id()
    error = {"code": "worker_crashed", "message": "shard 0 was given up"}
    facts = JobState(id=job_id, name="birds", status=JobStatus.FAILED, error=error)
    here = f"/v1/jobs/{job_id}"
    assert orjson.loads(job_message("job.failed", AT, facts)) == {
        "type": "job.failed",
        "timestamp": "2026-11-25T12:00:00+00:00",
        "data": {
            "job": job_id,
            "name": "birds",
            "status": "failed",
            "error": error,
            "links": {
                "self": here,
                "result": f"{here}/result",
                "report": f"{here}/report",
                "events": f"{here}/events",
            },
        },
    }


def test_a_message_about_a_training_leads_to_trainings() -> None:
    facts = JobState(id=new_training_id(), name="", kind=WorkKind.TRAIN, status=JobStatus.SUCCEEDED)
    links = orjson.loads(job_message("job.succeeded", AT, facts))["data"]["links"]
    here = f"/v1/trainings/{facts.id}"
    assert links == {"self": here} | {name: f"{here}/{name}" for name in ("adapter", "report", "events")}


@given(TEXT.map(lambda text: text[:200]), TEXT, TEXT)
def test_no_message_is_longer_than_the_specification_advises(name: str, code: str, message: str) -> None:
    facts = JobState(
        id=new_job_id(), name=name, status=JobStatus.FAILED, error={"code": code, "message": message, "more": "x"}
    )
    body = job_message("job.failed", AT, facts)
    assert len(body) <= MAX_BODY_BYTES
    assert set(orjson.loads(body)["data"]["error"]) == {"code", "message"}


def test_half_a_character_in_an_error_does_not_keep_a_job_from_ending() -> None:
    facts = JobState(id=new_job_id(), name="\ud800", status=JobStatus.FAILED, error={"message": "\udfff"})
    assert orjson.loads(job_message("job.failed", AT, facts))["data"]["name"] == "?"


@pytest.mark.parametrize(
    ("event_type", "told"),
    [
        ("job.succeeded", True),
        ("job.paused", True),
        ("job.progress", False),
        ("shard.started", False),
        ("note", False),
    ],
)
def test_progress_and_shards_are_not_reported(event_type: str, told: bool) -> None:
    assert is_reported(event_type) == told


def test_a_trial_says_that_it_is_one() -> None:
    assert orjson.loads(trial_message(AT))["type"] == "webhook.test"
