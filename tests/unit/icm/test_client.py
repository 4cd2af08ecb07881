import errno
import json
import os
import re
import stat
from pathlib import Path

import httpx
import pytest

from icm import ApiError, AsyncClient, Client, ServerUnreachable
from icm.commands import jobs
from icm.errors import UnusableUrl
from tests.support.commands import IMPATIENT
from tests.unit.icm.fake_service import FakeService, job_answer, problem

CONFIG = {"task": {"template": "{claim}"}}


def test_a_file_is_sent_under_its_name_with_the_configuration(tmp_path: Path) -> None:
    data = tmp_path / "claims.csv"
    data.write_text("claim\nsnow is white\n")
    service = FakeService(job_answer(code=202))
    with service.client() as client:
        job = client.create_job(data, CONFIG)
    body = service.requests[0].content
    assert b'filename="claims.csv"' in body
    assert b"snow is white" in body
    assert json.dumps(CONFIG).encode() in body
    assert job.status == "queued"


def test_rows_are_sent_as_json_lines() -> None:
    service = FakeService(job_answer(code=202))
    with service.client() as client:
        client.create_job(({"claim": text} for text in ("ä", "b")), CONFIG)
    assert '{"claim": "ä"}\n{"claim": "b"}\n'.encode() in service.requests[0].content


def test_a_creation_repeated_after_failures_sends_the_same_key_and_the_whole_body() -> None:
    service = FakeService(httpx.ConnectError("refused"), problem(503, "storage-unavailable"), job_answer(code=202))
    with service.client() as client:
        client.create_job([{"claim": "a"}], CONFIG)
    keys = [request.headers["Idempotency-Key"] for request in service.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert all(b'{"claim": "a"}\n' in request.content for request in service.requests)


def test_an_error_says_how_many_faults_it_does_not_show() -> None:
    faults = [{"line": line, "field": "claim", "message": "is missing"} for line in range(1, 8)]
    service = FakeService(problem(422, "invalid-dataset", errors=faults))
    with service.client() as client, pytest.raises(ApiError, match=r"line 5, field claim: is missing; and 2 more$"):
        client.estimate(b"{}", CONFIG)


def test_two_creations_have_different_keys() -> None:
    service = FakeService(job_answer(code=202))
    with service.client() as client:
        client.create_job(b"{}", CONFIG)
        client.create_job(b"{}", CONFIG)
    first, second = (request.headers["Idempotency-Key"] for request in service.requests)
    assert first != second


def test_a_key_of_the_callers_own_is_used() -> None:
    service = FakeService(job_answer(code=202))
    with service.client() as client:
        client.create_job(b"{}", CONFIG, idempotency_key="mine")
    assert service.requests[0].headers["Idempotency-Key"] == "mine"


def test_a_missing_file_is_reported_before_anything_is_sent(tmp_path: Path) -> None:
    service = FakeService(job_answer())
    with service.client() as client, pytest.raises(FileNotFoundError):
        client.create_job(tmp_path / "nowhere.jsonl", CONFIG)
    assert service.requests == []


def test_a_problem_document_becomes_an_error_with_lines_and_fields() -> None:
    faults = [{"line": 3, "field": "claim", "message": "is missing"}, {"line": None, "field": None, "message": "bad"}]
    service = FakeService(problem(422, "invalid-dataset", errors=faults, request_id="req_7"))
    with service.client() as client, pytest.raises(ApiError) as caught:
        client.estimate(b"{}", CONFIG)
    error = caught.value
    assert (error.status, error.type, error.request_id) == (422, "urn:icm:problem:invalid-dataset", "req_7")
    assert [str(fault) for fault in error.errors] == ["line 3, field claim: is missing", "bad"]
    assert error.is_invalid_input
    assert len(service.requests) == 1


def test_an_error_that_is_no_problem_document_is_shown_unchanged() -> None:
    service = FakeService(httpx.Response(500, text="<h1>proxy</h1>"))
    with service.client() as client, pytest.raises(ApiError, match=r"500.*proxy"):
        client.job("job_1")


def test_a_service_that_never_answers_is_given_up_after_the_attempts_allowed() -> None:
    service = FakeService(httpx.ReadTimeout(""))
    with service.client() as client, pytest.raises(ServerUnreachable, match="GET /v1/models: the time-out has expired"):
        client.models()
    assert len(service.requests) == 3


def test_an_address_that_does_not_answer_is_named_with_what_to_do_and_without_a_password() -> None:
    refused = httpx.ConnectError("[Errno 111] Connection refused")
    transport = httpx.MockTransport(FakeService(refused))
    with (
        Client("http://user:word@localhost:8123", transport=transport, retries=IMPATIENT) as client,
        pytest.raises(ServerUnreachable) as failed,
    ):
        client.job("job_1")
    told = str(failed.value)
    assert told.startswith("no answer from http://localhost:8123 to GET /v1/jobs/job_1: Connection refused.")
    assert "icm serve" in told
    assert "--url" in told


def test_jobs_are_read_page_by_page_to_the_last() -> None:
    pages = [
        {"data": [job_answer().json()], "has_more": True, "next_cursor": "c/1"},
        {"data": [job_answer("succeeded").json()], "has_more": False, "next_cursor": None},
    ]
    service = FakeService(*(httpx.Response(200, json=page) for page in pages))
    with service.client() as client:
        found = [job.status for job in client.jobs(status="any")]
    assert found == ["queued", "succeeded"]
    assert service.requests[1].url.params["cursor"] == "c/1"
    assert service.requests[1].url.params["status"] == "any"


def test_waiting_ends_with_the_job_and_reports_every_change_once() -> None:
    service = FakeService(job_answer("queued"), job_answer("queued"), job_answer("running"), job_answer("failed"))
    seen: list[str] = []
    with service.client() as client:
        job = client.wait("job_1", poll_seconds=0, on_change=lambda job: seen.append(job.status))
    assert job.status == "failed"
    assert seen == ["queued", "running", "failed"]


def test_waiting_continues_through_an_unknown_status_and_ends_with_a_final_one() -> None:
    ended = job_answer("retired", finished_at="2026-11-24T00:02:00Z")
    service = FakeService(job_answer("reviewing"), ended)
    with service.client() as client:
        assert client.wait("job_1", poll_seconds=0).status == "retired"


def test_waiting_longer_than_allowed_raises() -> None:
    service = FakeService(job_answer("running"))
    with service.client() as client, pytest.raises(TimeoutError, match="still running"):
        client.wait("job_1", poll_seconds=0, timeout_seconds=0)


def test_a_service_that_does_not_answer_cannot_hold_a_wait_beyond_its_time() -> None:
    service = FakeService(httpx.ReadTimeout("slow"))
    with service.client() as client, pytest.raises(TimeoutError, match="has an unknown status after 0 s"):
        client.wait("job_1", timeout_seconds=0)
    assert len(service.requests) == 1
    assert service.requests[0].extensions["timeout"]["read"] <= 1


def test_requests_of_a_wait_take_no_longer_than_is_left() -> None:
    service = FakeService(job_answer("succeeded"))
    with service.client() as client:
        client.wait("job_1", timeout_seconds=5)
    assert service.requests[0].extensions["timeout"]["read"] == pytest.approx(5, abs=1)


def test_fields_that_newer_services_add_do_no_harm() -> None:
    service = FakeService(job_answer("running", progress={"rows": 9, "later": 1}, priority=3))
    with service.client() as client:
        job = client.job("job_1")
    assert job.progress.rows == 9
    assert job.document["priority"] == 3


def test_a_result_is_saved_in_the_format_of_its_ending(tmp_path: Path) -> None:
    service = FakeService(httpx.Response(200, content=b"id,icm_label\n1,True\n"))
    with service.client() as client:
        path = client.result("job_1", to=tmp_path / "labelled.csv")
    assert path.read_bytes() == b"id,icm_label\n1,True\n"
    assert service.requests[0].url.params["format"] == "csv"


def test_a_result_with_an_unknown_ending_is_not_asked_for(tmp_path: Path) -> None:
    service = FakeService(httpx.Response(200))
    with service.client() as client, pytest.raises(ValueError, match=r"\.jsonl, \.csv, \.parquet"):
        client.result("job_1", to=tmp_path / "labelled.xlsx")
    assert service.requests == []


def test_a_broken_download_is_repeated(tmp_path: Path) -> None:
    def broken(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Broken())

    service = FakeService(broken, httpx.Response(200, content=b"whole\n"))
    with service.client() as client:
        path = client.result("job_1", to=tmp_path / "labelled.jsonl")
    assert path.read_bytes() == b"whole\n"
    assert [file.name for file in tmp_path.iterdir()] == ["labelled.jsonl"]


def test_until_a_download_is_whole_the_file_before_it_stays(tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    path.write_bytes(b"before\n")
    path.chmod(0o640)
    looking = Looking(path)
    with FakeService(lambda _: httpx.Response(200, stream=looking)).client() as client:
        client.result("job_1", to=path)
    assert looking.seen == ["before\n", "before\n"]
    assert path.read_text() == "first half, second half\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("icm.data.files.os.fsync", full)
    path = tmp_path / "labelled.jsonl"
    with FakeService(httpx.Response(200, content=b"{}\n")).client() as client, pytest.raises(OSError) as raised:  # noqa: PT011 - its name is checked
        client.result("job_1", to=path)
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert list(tmp_path.iterdir()) == []


def test_a_download_through_a_link_goes_where_the_link_points(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "labelled.jsonl"
    link.symlink_to(tmp_path / "elsewhere" / "real.jsonl")
    with FakeService(httpx.Response(200, content=b"{}\n")).client() as client:
        client.result("job_1", to=link)
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "real.jsonl").read_bytes() == b"{}\n"


def test_a_download_goes_into_a_pipe_as_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with FakeService(httpx.Response(200, content=b"{}\n")).client() as client:
        client.result("job_1", to=pipe, result_format="jsonl")
    assert os.read(reader, 100) == b"{}\n"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_refused_download_leaves_no_file(tmp_path: Path) -> None:
    service = FakeService(problem(409, "job-not-finished"))
    with service.client() as client, pytest.raises(ApiError):
        client.result("job_1", to=tmp_path / "labelled.jsonl", partial=True)
    assert list(tmp_path.iterdir()) == []
    assert service.requests[0].url.params["partial"] == "true"


def test_a_csv_for_spreadsheets_is_asked_for_by_name(tmp_path: Path) -> None:
    service = FakeService(httpx.Response(200, content=b""))
    with service.client() as client:
        client.result("job_1", to=tmp_path / "labelled.csv", formula_safe=True)
        client.result("job_1", to=tmp_path / "labelled.csv")
    assert [dict(request.url.params) for request in service.requests] == [
        {"format": "csv", "formula_safe": "true"},
        {"format": "csv"},
    ]


def test_the_command_line_asks_for_raw_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = FakeService(httpx.Response(200, content=b""))
    monkeypatch.setattr(jobs, "Client", lambda _url, api_key: service.client())
    jobs.result("job_1", tmp_path / "labelled.csv", raw_probability=True)
    assert dict(service.requests[0].url.params) == {"format": "csv", "raw_probability": "true"}


def test_calls_reach_their_addresses() -> None:
    service = FakeService(job_answer())
    with service.client() as client:
        client.pause("job_1")
        client.resume("job_1")
        client.cancel("job_1")
        client.delete("job/1")
        client.report("job_1")
    asked = [f"{request.method} {request.url.raw_path.decode()}" for request in service.requests]
    assert asked == [
        "POST /v1/jobs/job_1/pause",
        "POST /v1/jobs/job_1/resume",
        "POST /v1/jobs/job_1/cancel",
        "DELETE /v1/jobs/job%2F1",
        "GET /v1/jobs/job_1/report",
    ]


class Looking(httpx.SyncByteStream):
    """A body that checks a file while its halves are sent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seen: list[str] = []

    def __iter__(self):  # type: ignore[no-untyped-def]  # a generator of bytes
        for half in (b"first half, ", b"second half\n"):
            yield half
            self.seen.append(self._path.read_text())


class Broken(httpx.SyncByteStream):
    def __iter__(self):  # type: ignore[no-untyped-def]  # a generator that ends in an error
        yield b"ha"
        raise httpx.ReadError("connection lost")


def test_a_job_has_its_warnings() -> None:
    service = FakeService(job_answer(code=202, warnings=["there are no relations"]), job_answer(code=202))
    with service.client() as client:
        warned, silent = (client.create_job(b"{}", CONFIG) for _ in range(2))
    assert (warned.warnings, silent.warnings) == (("there are no relations",), ())


def test_an_address_with_an_impossible_port_is_reported_with_the_port() -> None:
    for url, port in (("http://x:99999", "99999"), ("http://host:port", "port"), ("https://x:0/a", "0")):
        with pytest.raises(UnusableUrl, match=f"it has the port '{port}'; a port is a number from 1 to 65535"):
            Client(url)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "localhost:8000", "", "ftp://host", "http://", "//host"])
def test_an_invalid_address_is_reported_with_an_example(url: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(UnusableUrl, match=re.escape(f"{url!r} is no address of a service: write it as http://127")):
            client(url)
