import json

import pytest

from icm.commands import jobs
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
