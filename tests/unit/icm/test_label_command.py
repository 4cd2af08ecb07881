import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from icm.cli import build_app
from icm.commands import jobs, label
from icm.commands.options import FailOn
from icm.local_stack.nearby import service_answers
from icm.local_stack.temporary_service import PrivateService
from icm.requests import DEFAULT_URL
from tests.unit.icm.fake_service import FakeService, job_document

VERDICTS = ("ok", "suspicious", "do_not_use", "of a newer service")


def answering(verdict: str) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params.get("format") == "html":
            return httpx.Response(200, content=b"<!doctype html>")
        if request.url.path.endswith("/result"):
            return httpx.Response(200, content=b"{}\n")
        if request.url.path.endswith("/report"):
            return httpx.Response(200, json={"verdict": verdict})
        return httpx.Response(200, json=job_document("succeeded"))

    return answer


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`icm label` of a row by a private service that gives this verdict."""
    (tmp_path / "data.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)

    @contextmanager
    def private(*, tell_stage: Callable[[str], None], **_: object) -> Iterator[str]:
        tell_stage("starting the database")
        yield "http://private"

    monkeypatch.setattr(label, "PrivateService", private)
    monkeypatch.setattr(label, "service_answers", lambda _url: False)

    def run(verdict: str, *options: str) -> Result:
        monkeypatch.setattr(label, "Client", lambda _url, **_: FakeService(answering(verdict)).client())
        words = ["label", "data.jsonl", "-o", "out.jsonl", "--config", "config.json", *options]
        return CliRunner().invoke(build_app(), words, env={"COLUMNS": "300", "ICM_URL": ""})

    return run


def test_a_verdict_is_refused_from_the_given_one_on() -> None:
    assert [FailOn.SUSPICIOUS.refuses(verdict) for verdict in VERDICTS] == [False, True, True, True]
    assert [FailOn.DO_NOT_USE.refuses(verdict) for verdict in VERDICTS] == [False, False, True, False]


@pytest.mark.parametrize(("fail_on", "refused"), [("suspicious", True), ("do_not_use", False)])
def test_a_verdict_that_is_not_accepted_ends_with_7_after_everything_is_written(
    fail_on: str, refused: bool, run: Callable[..., Result]
) -> None:
    done = run("suspicious", "--fail-on", fail_on, "--report", "report.html")
    assert done.exit_code == (7 if refused else 0)
    assert ("the verdict is suspicious" in done.stderr) is refused
    assert "verdict: suspicious" in done.stdout
    assert Path("report.html").read_bytes() == b"<!doctype html>"
    assert Path("out.jsonl").read_bytes() == b"{}\n"


def test_without_fail_on_no_verdict_is_a_failure(run: Callable[..., Result]) -> None:
    assert run("do_not_use").exit_code == 0


def test_scripts_get_the_report_and_the_reason_for_7(run: Callable[..., Result]) -> None:
    done = run("do_not_use", "--fail-on", "do_not_use", "--json")
    assert json.loads(done.stdout)["report"] == {"verdict": "do_not_use"}
    assert json.loads(done.stderr)["exit_code"] == 7


def test_a_report_of_a_job_that_has_run_is_judged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "Client", lambda _url, api_key: FakeService(answering("suspicious")).client())
    for fail_on, code in (("suspicious", 7), ("do_not_use", 0)):
        assert CliRunner().invoke(build_app(), ["report", "job_1", "--fail-on", fail_on]).exit_code == code


def test_a_report_that_could_not_be_saved_is_refused_before_anything_starts(run: Callable[..., Result]) -> None:
    done = run("ok", "--report", "nowhere/report.html")
    assert (done.exit_code, "starting" in done.stderr) == (2, False)


def test_the_reason_for_waiting_is_shown_except_to_scripts(run: Callable[..., Result]) -> None:
    told = run("ok", "--model", "org/model").stderr
    assert "starting a private service ...\n  starting the database ...\n  ready after" in told
    assert run("ok", "--json").stderr == ""


def test_a_private_service_without_a_model_says_that_its_model_is_small_and_how_to_name_another(
    run: Callable[..., Result],
) -> None:
    small = "the language model is the small one of this repository"
    told = run("ok").stderr
    assert small in told
    assert "--model" in told
    for others in (("--model", "org/model"), ("--url", DEFAULT_URL), ("--json",)):
        assert small not in run("ok", *others).stderr


def test_a_service_that_runs_is_named_with_the_reason_why_it_is_not_used(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label, "service_answers", lambda url: url == DEFAULT_URL)
    told = run("ok").stderr
    assert f"a service answers at {DEFAULT_URL}, and this command does not use it: that service keeps the rows" in told
    assert f"--url {DEFAULT_URL}" in told
    assert "does not use it" not in run("ok", "--url", DEFAULT_URL).stderr


@pytest.mark.parametrize(
    ("answer", "is_ours"),
    [
        (httpx.Response(404, json={"type": "urn:icm:problem:job-not-found"}), True),
        (httpx.Response(401, json={"type": "urn:icm:problem:unauthenticated"}), True),
        (httpx.Response(404, json={"type": "about:blank"}), False),
        (httpx.Response(200, json=["x"]), False),
        (httpx.Response(200, text="hello"), False),
        (httpx.ConnectError("refused"), False),
        (httpx.ReadTimeout("late"), False),
    ],
)
def test_a_service_is_known_by_its_errors_and_sent_no_key(
    answer: httpx.Response | Exception, is_ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = FakeService(answer)
    get = httpx.Client(transport=httpx.MockTransport(service)).get
    monkeypatch.setattr(httpx, "get", lambda url, timeout, trust_env: get(url))
    monkeypatch.setenv("ICM_API_KEY", "icm_a_b")
    assert service_answers(DEFAULT_URL) is is_ours
    assert "Authorization" not in service.requests[0].headers


def test_a_private_service_shows_its_stages_and_then_its_address() -> None:
    told = list[str]()
    service = PrivateService(tell_stage=told.append)
    lines = [{"stage": "starting the database"}, {"stage": "loading"}, {"url": "http://private"}]
    script = f"for line in {list(map(json.dumps, lines))!r}: print(line, flush=True)\nimport time; time.sleep(60)"
    service._command = [sys.executable, "-c", script]
    with service as url:
        assert url == "http://private"
    assert told == ["starting the database", "loading"]
