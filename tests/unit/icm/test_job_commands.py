import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

import icm
from icm.cli import ENTRIES, build_app
from icm.commands import jobs, submit
from icm.commands.failures import ExitCode
from tests.unit.icm.fake_service import FakeService, job_answer, job_document, problem


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    data, config = tmp_path / "claims.jsonl", tmp_path / "config.json"
    data.write_text('{"text": "x"}\n')
    config.write_text('{"task": {"template": "{text}"}}')
    return data, config


def served(monkeypatch: pytest.MonkeyPatch, *answers: httpx.Response) -> FakeService:
    fake = FakeService(*answers)
    for module in (jobs, submit):
        monkeypatch.setattr(module, "Client", lambda _url, api_key: fake.client())
    return fake


def test_submitting_prints_the_id_alone_on_standard_output_and_warnings_beside_it(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = served(monkeypatch, job_answer(code=202, warnings=["12 rows are too few to judge"]))
    submit.submit(*files)
    out, err = capsys.readouterr()
    assert out == "job_1\n"
    assert err.splitlines()[0] == "warning: 12 rows are too few to judge"
    assert b'"name": "claims"' in service.requests[0].content


def test_submitting_gives_scripts_the_whole_job(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served(monkeypatch, job_answer(code=202))
    submit.submit(*files, as_json=True)
    assert capsys.readouterr() == (json.dumps(job_document()) + "\n", "")


def test_a_data_set_that_is_refused_ends_with_its_faults(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    served(monkeypatch, problem(422, "invalid-dataset", errors=[{"line": 1, "field": "q", "message": "is missing"}]))
    done = CliRunner().invoke(build_app(), ["submit", str(files[0]), "--config", str(files[1])])
    assert done.exit_code == ExitCode.INVALID_INPUT
    assert "line 1, field q: is missing" in done.stderr


def test_a_job_is_shown_with_all_that_is_known_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: dict[str, Any] = {
        "config": {"model": "default"},
        "error": {"message": "label unreachable"},
        "warnings": ["few rows"],
    }
    served(monkeypatch, job_answer("failed", 200, **told))
    jobs.show("job_1")
    assert capsys.readouterr().out.splitlines() == [
        "job_1  capitals",
        "status: failed",
        "rows: 4 of 4 labelled",
        "created: 2026-11-24 00:00:00 UTC",
        "finished: 2026-11-24 00:01:00 UTC",
        "model: default",
        "error: label unreachable",
        "warning: few rows",
    ]
    jobs.show("job_1", as_json=True)
    assert json.loads(capsys.readouterr().out) == job_document("failed", **told)


def test_deleting_with_yes_asks_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    service = served(monkeypatch, httpx.Response(204))
    jobs.delete("job_1", yes=True)
    jobs.delete("job_1", yes=True, as_json=True)
    assert capsys.readouterr().out == 'job_1 deleted\n{"id": "job_1", "deleted": true}\n'
    assert [(request.method, request.url.path) for request in service.requests] == [("DELETE", "/v1/jobs/job_1")] * 2


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_where_nobody_can_be_asked_nothing_is_deleted_without_yes(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = served(monkeypatch, httpx.Response(204))
    monkeypatch.setattr(jobs, "a_person_is_there", lambda: bool(options))  # scripts are asked nothing either way
    done = CliRunner().invoke(build_app(), ["delete", "job_1", *options])
    assert done.exit_code == ExitCode.USAGE
    assert "nobody can answer a question" in " ".join(done.stderr.split())
    assert service.requests == []


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130), ("\n", 130), ("", 130)])
def test_a_person_is_asked_before_a_job_is_deleted(answer: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    service = served(monkeypatch, httpx.Response(204))
    monkeypatch.setattr(jobs, "a_person_is_there", lambda: True)
    done = CliRunner().invoke(build_app(), ["delete", "job_1"], input=answer)
    assert done.exit_code == code
    assert "Delete job_1" in done.stderr
    assert bool(service.requests) is (code == 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["jobs", "--limit", "0"], "must be at least 1"),
        (["jobs", "--limit", "many"], "must be a whole number"),
        (["serve", "--port", "99999"], "must be at most 65535"),
        (["convert", "foo", "x", "-o", "y"], "'foo' is not one of 'truthfulqa', 'gsm8k'"),
        (["train", "job_1", "--learning-rate", "much"], "must be a number"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused_in_plain_words(words: list[str], told: str) -> None:
    done = CliRunner().invoke(build_app(), words, env={"COLUMNS": "200"})
    assert done.exit_code == ExitCode.USAGE
    assert told in done.stderr
    assert not any(word in done.stderr for word in ("Input should", "Value error", "parse string"))


def test_the_version_is_shown_as_text_and_as_json() -> None:
    installed = version("icm-service")
    assert CliRunner().invoke(build_app(), ["--version"]).stdout == f"{installed}\n"
    assert json.loads(CliRunner().invoke(build_app(), ["--version", "--json"]).stdout) == {"version": installed}


def test_json_before_the_command_is_refused_rather_than_ignored() -> None:
    done = CliRunner().invoke(build_app(), ["--json", "jobs"])
    assert done.exit_code == ExitCode.USAGE
    assert "behind the command" in " ".join(done.stderr.split())


def test_the_list_of_commands_has_the_first_line_of_each_help() -> None:
    for entry in ENTRIES:
        beginning = entry.loaded().help.split("\n\n")[0]
        assert entry.summary == " ".join(beginning.split()), entry.name


def test_a_command_that_is_mistyped_is_answered_with_the_nearest() -> None:
    assert "Did you mean 'label'" in " ".join(CliRunner().invoke(build_app(), ["lable"]).stderr.split())


def test_public_names_are_loaded_when_they_are_asked_for_and_others_are_refused() -> None:
    assert {name for name in icm.__all__ if getattr(icm, name).__name__ != name} == set()
    assert set(icm.__all__) <= set(dir(icm))
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        getattr(icm, "Klient")  # noqa: B009 - no type checker knows it
