import json

import pytest

from icm.commands import jobs
from icm.commands.progress import figures
from icm.documents import Job
from tests.unit.icm.fake_service import FakeService, job_answer, job_document

HELD = {"code": "requested", "message": "paused on request; the job goes on once it is resumed"}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService(job_answer("paused", error=HELD), job_answer("running"))
    monkeypatch.setattr(jobs, "Client", lambda _url, api_key: fake.client())
    return fake


def test_pausing_and_resuming_show_the_jobs_status(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.pause("job_1")
    jobs.resume("job_1")
    assert capsys.readouterr().out.splitlines() == [
        "job_1 paused  0/4 rows  waits: paused on request; the job goes on once it is resumed",
        "job_1 running  0/4 rows",
    ]
    assert [request.url.path for request in service.requests] == ["/v1/jobs/job_1/pause", "/v1/jobs/job_1/resume"]


def test_scripts_get_the_whole_job(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.pause("job_1", as_json=True)
    assert json.loads(capsys.readouterr().out) == job_document("paused", error=HELD)


def test_icm_watch_shows_what_a_paused_job_waits_for() -> None:
    assert figures(Job.read(job_document("paused", error=HELD))) == f"waits: {HELD['message']}"


async def test_the_asynchronous_client_has_the_same_calls() -> None:
    service = FakeService(job_answer("paused"), job_answer("running"))
    async with service.async_client() as client:
        assert [(await client.pause("job_1")).status, (await client.resume("job_1")).status] == ["paused", "running"]
    assert [request.url.path for request in service.requests] == ["/v1/jobs/job_1/pause", "/v1/jobs/job_1/resume"]
