from pathlib import Path

import httpx
import pytest
import typer

from icm.commands import jobs
from tests.unit.icm.fake_service import FakeService


def answered(request: httpx.Request) -> httpx.Response:
    if request.url.params.get("format") == "html":
        return httpx.Response(200, content=b"<!doctype html>")
    return httpx.Response(200, json={"verdict": "ok", "coherence": {"gain_nats": 0.7}, "warnings": ["few rows"]})


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService(answered)
    monkeypatch.setattr(jobs, "Client", lambda _url, api_key: fake.client())
    return fake


def test_a_report_is_summed_up_and_saved_as_a_page(
    service: FakeService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.report("job_1", html=tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == b"<!doctype html>"
    assert capsys.readouterr().out.splitlines() == [
        "warning: few rows",
        "verdict: ok",
        "coherence: gain over shuffled labels 0.700 nats per row",
    ]


def test_without_a_file_no_page_is_asked_for(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.report("job_1", as_json=True)
    assert capsys.readouterr().out == '{"verdict": "ok", "coherence": {"gain_nats": 0.7}, "warnings": ["few rows"]}\n'
    assert len(service.requests) == 1


def test_a_page_that_could_not_be_written_is_refused_before_anything_is_asked(
    service: FakeService, tmp_path: Path
) -> None:
    with pytest.raises(typer.BadParameter, match="no such folder"):
        jobs.report("job_1", html=tmp_path / "nowhere" / "report.html")
    assert service.requests == []
