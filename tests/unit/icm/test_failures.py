import json

import pytest
from typer.testing import CliRunner

from icm import ApiError, Fault, ServerUnreachable
from icm.cli import build_app
from icm.commands.failures import BadConfigFile, ExitCode, JobEndedBadly, exit_code, report_failure
from icm.documents import Job
from icm.local_stack.postgres_binaries import EmbeddedPostgresError
from icm.local_stack.supervisor import PartFailed
from icm.local_stack.temporary_service import PrivateServiceFailed
from tests.unit.icm.fake_service import job_document

FAILED_JOB = Job.read(job_document("failed", error={"code": "backend", "message": "label unreachable"}))
BAD_ROWS = ApiError(
    422,
    kind="urn:icm:problem:invalid-dataset",
    detail="2 rows cannot be used",
    errors=[Fault("is missing", line=3, field="claim"), Fault("[red]not[/red] JSON", line=9)],
    request_id="req_7",
)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (JobEndedBadly(FAILED_JOB), ExitCode.JOB_ENDED_BADLY),
        (FileNotFoundError("data.jsonl"), ExitCode.USAGE),
        (BAD_ROWS, ExitCode.INVALID_INPUT),
        (ApiError(413, kind="t", detail="too large"), ExitCode.INVALID_INPUT),
        (BadConfigFile("c.json: not JSON"), ExitCode.INVALID_INPUT),
        (ServerUnreachable("no answer"), ExitCode.UNREACHABLE),
        (ApiError(404, kind="t", detail="no such job"), ExitCode.REFUSED),
        (ApiError(500, kind="t", detail="internal"), ExitCode.REFUSED),
        (PartFailed("api", "has ended", ""), ExitCode.SERVICE_FAILED),
        (EmbeddedPostgresError("no binaries"), ExitCode.SERVICE_FAILED),
        (PrivateServiceFailed("inference ended"), ExitCode.SERVICE_FAILED),
        (PrivateServiceFailed("inference ended", 6), ExitCode.SERVICE_FAILED),
        (PrivateServiceFailed("no database", 4), ExitCode.SERVICE_FAILED),
        (PrivateServiceFailed("no such model", 2), ExitCode.USAGE),
    ],
)
def test_every_expected_error_has_its_exit_code(error: Exception, expected: ExitCode) -> None:
    assert exit_code(error) == expected


def test_bad_rows_are_listed_with_line_and_field_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_failure(BAD_ROWS, as_json=False) == ExitCode.INVALID_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert "2 rows cannot be used" in err
    assert "  line 3, field claim: is missing" in err
    assert "  line 9: [red]not[/red] JSON" in err


def test_with_json_errors_are_json_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    report_failure(BAD_ROWS, as_json=True)
    out, err = capsys.readouterr()
    told = json.loads(err)
    assert out == ""
    assert told["exit_code"] == 3
    assert told["error"]["type"] == "urn:icm:problem:invalid-dataset"
    assert told["error"]["errors"][0] == {"line": 3, "field": "claim", "message": "is missing"}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_refusal_of_the_operating_system_names_the_file_and_no_number(
    as_json: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report_failure(FileNotFoundError(2, "No such file or directory", "/gone"), as_json=as_json)
    err = capsys.readouterr().err
    assert "/gone: No such file or directory" in err
    assert "Errno" not in err


def test_a_reader_who_has_left_is_no_error() -> None:
    group = build_app()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("icm.cli.on_stdout", _left)
        done = CliRunner().invoke(group, ["--version"])
    assert done.stderr == ""


def _left() -> None:
    raise BrokenPipeError(32, "Broken pipe")


def test_a_refusal_names_the_request_for_the_operators_logs(capsys: pytest.CaptureFixture[str]) -> None:
    report_failure(ApiError(500, kind="t", detail="internal error", request_id="req_9"), as_json=False)
    assert "request req_9" in capsys.readouterr().err


def test_a_job_that_failed_says_why() -> None:
    assert str(JobEndedBadly(FAILED_JOB)) == "job job_1 failed: label unreachable"
