"""Text from data and servers cannot control the terminal, whichever command shows it."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from icm import Client
from icm.cli import ENTRIES, build_app
from icm.commands import audit, jobs, keys, label, models, projects, submit, trainings, webhooks
from icm.commands.failures import report_failure
from icm.commands.output import Terminal, on_stderr, plain_table, write_line
from icm.commands.progress import shown_progress
from icm.documents import Job
from icm.local_stack.supervisor import PartFailed
from service.identifiers import KeyId, ProjectName
from service.records.access import ApiKey, AuditAction, AuditEntry, Project, Scope
from service.terminal import visible, visible_line
from tests.support.commands import IMPATIENT
from tests.unit.icm.fake_service import FakeService, job_document, problem

STEERING = "".join(
    map(chr, (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)
EVIL = f"\x1b[31mA\x1b]0;title\x07[/red][bold]:smile:{STEERING}"
UNSAFE = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
NOW = "2026-11-24T00:00:00Z"
JOB = job_document("failed", name=EVIL, error={"code": EVIL, "message": EVIL}, warnings=[EVIL])
PAUSED = {**JOB, "status": "paused"}
REPORT = {
    "verdict": EVIL,
    "reasons": [{"verdict": EVIL, "message": EVIL}],
    "labels": [{"label": EVIL, "rows": 1}],
    "baselines": [{"name": EVIL, "rows": 1}],
}
BACKEND = {"id": EVIL, "kind": EVIL, "model": EVIL, "ready": False, "problems": [EVIL], "advice": [EVIL]}
ESTIMATE = {
    **dict.fromkeys(("rows", "shards", "groups", "prompts", "tokens_sent", "tokens_computed"), 1),
    "at_most": dict.fromkeys(("prompts", "tokens_sent", "tokens_computed"), 2),
    "warnings": [EVIL],
    "known": {EVIL: 1},
    "sample_prompt": EVIL,
}
TRAINING = {
    **dict.fromkeys(("id", "status"), EVIL),
    "created_at": NOW,
    "finished_at": NOW,
    "rows": 1,
    "progress": {"step": 1, "steps": 2, "loss": 0.5, "stage": EVIL},
    "error": {"code": EVIL, "message": EVIL},
    "warnings": [EVIL],
}
WEBHOOK = {"id": EVIL, "url": EVIL, "events": [EVIL], "description": EVIL, "enabled": False, "disabled_reason": EVIL}
DELIVERY = {
    **dict.fromkeys(("id", "type", "status", "last_error"), EVIL),
    "tries": 1,
    "last_status": 500,
    "created_at": NOW,
    "next_try_at": None,
}
MOMENT = datetime.now(UTC)
KEY = ApiKey(id=KeyId(EVIL), project=ProjectName(EVIL), name=EVIL, scopes=frozenset({Scope.READ}), created_at=MOMENT)
PROJECT = Project(name=ProjectName(EVIL), created_at=MOMENT, quotas={EVIL: 1})
ENTRY = AuditEntry(
    action=AuditAction.JOB_CREATED, target=EVIL, project=ProjectName(EVIL), key_id=None, request_id=EVIL, at=MOMENT
)
PAGE = {"next_cursor": None}

# What each command shows of whom: its words, and what the service answers or the database holds.
SHOWN: dict[str, tuple[list[str], Any]] = {
    "jobs": ([], {"data": [JOB], **PAGE}),
    "show": (["job_1"], JOB),
    "watch": (["job_1"], JOB),
    "report": (["job_1"], REPORT),
    "pause": (["job_1"], PAUSED),
    "resume": (["job_1"], PAUSED),
    "cancel": (["job_1"], PAUSED),
    "models": ([], {"data": [BACKEND]}),
    "label": (["DATA", "--config", "CONFIG", "-o", "out.jsonl", "--url", "http://localhost"], JOB),
    "submit": (["DATA", "--config", "CONFIG"], JOB),
    "estimate": (["DATA", "--config", "CONFIG", "--url", "http://localhost"], ESTIMATE),
    "train": (["job_1", "--wait"], TRAINING),
    "reward-labels": (["PAIRS", "--config", "COMPARISON", "-o", "out.jsonl", "--url", "http://localhost"], JOB),
    "trainings": ([], {"data": [TRAINING], **PAGE}),
    "webhooks create": (["https://example.com"], {**WEBHOOK, "secret": EVIL}),
    "webhooks list": ([], {"data": [WEBHOOK]}),
    "webhooks show": (["wh_1"], WEBHOOK),
    "webhooks update": (["wh_1", "--enable"], WEBHOOK),
    "webhooks rotate": (["wh_1"], {**WEBHOOK, "secret": EVIL}),
    "webhooks test": (["wh_1"], DELIVERY),
    "webhooks deliveries": (["wh_1"], {"data": [DELIVERY], **PAGE}),
    "webhooks resend": (["wh_1", "d_1"], DELIVERY),
    "keys list": ([], [KEY]),
    "keys revoke": (["k"], KEY),
    "projects list": ([], [PROJECT]),
    "projects limit": (["p", "rows=1"], PROJECT),
    "audit": ([], [ENTRY]),
}
# These show nothing but the key that was made, the file that was written, the parts that run here.
SILENT = {
    "score",
    "adapters",
    "convert",
    "keys create",
    "result",
    "serve",
    "serve-private",
    "delete",
    "webhooks delete",
}


def commands_of() -> Iterator[str]:
    for entry in ENTRIES:
        command = entry.loaded()
        yield from (f"{entry.name} {name}" for name in command.commands) if entry.is_group else [entry.name]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, Any], Result]:
    """A command with the answers of the service or the contents of the database."""
    (tmp_path / "data.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "config.json").write_text("{}")
    pairs = ({"query": "q", "response_a": f"a{n}", "response_b": f"b{n}"} for n in range(8))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (tmp_path / "comparison.json").write_text('{"preset": "comparison"}')
    files = {"DATA": str(tmp_path / "data.jsonl"), "CONFIG": str(tmp_path / "config.json")}
    files |= {"PAIRS": str(tmp_path / "pairs.jsonl"), "COMPARISON": str(tmp_path / "comparison.json")}
    monkeypatch.chdir(tmp_path)

    def run(command: str, found: Any) -> Result:
        answer = (
            found if isinstance(found, httpx.Response) else httpx.Response(200, text=json.dumps(found, default=str))
        )
        transport = httpx.MockTransport(FakeService(answer))
        for module in (jobs, label, models, submit, trainings, webhooks):
            monkeypatch.setattr(
                module, "Client", lambda _url, api_key: Client("http://x", transport=transport, retries=IMPATIENT)
            )
        for stored in (audit, keys, projects):
            monkeypatch.setattr(stored, "with_store", lambda *_: found)
        words = [files.get(word, word) for word in (*command.split(), *SHOWN[command][0])]
        return CliRunner().invoke(build_app(), words, env={"COLUMNS": "100"})

    return run


def test_every_command_that_shows_data_is_tried_here() -> None:
    assert set(commands_of()) == SHOWN.keys() | SILENT


@pytest.mark.parametrize("command", SHOWN)
def test_no_command_lets_data_steer_the_terminal(command: str, run: Callable[[str, Any], Result]) -> None:
    done = run(command, SHOWN[command][1])
    said = done.stdout + done.stderr
    assert UNSAFE.findall(said) == []
    assert "\\x1b[31mA" in said.replace("\n", "")
    assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.parametrize("command", ["show", "label", "reward-labels", "webhooks create"])
def test_no_command_lets_an_error_of_a_server_steer_the_terminal(
    command: str, run: Callable[[str, Any], Result]
) -> None:
    fault = {"line": 1, "field": EVIL, "message": EVIL}
    for answer in (problem(422, "x", detail=EVIL, errors=[fault], request_id=EVIL), httpx.Response(502, text=EVIL)):
        done = run(command, answer)
        assert UNSAFE.findall(done.stdout + done.stderr) == []
        assert "\\x1b[31mA" in done.stderr
        assert done.exit_code in {3, 5}


def test_an_answer_cannot_pass_for_lines_of_ours(run: Callable[[str, Any], Result]) -> None:
    name = "birds\nverdict: ok"
    assert "birds\\nverdict: ok" in run("jobs", {"data": [job_document(name=name)], **PAGE}).stdout
    assert "birds\\nverdict: ok" in run("report", {**REPORT, "labels": [{"label": name, "rows": 1}]}).stdout
    assert "birds\\nverdict: ok" in run("jobs", problem(404, "x", detail=name)).stderr


def test_json_stays_as_it_is(run: Callable[[str, Any], Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHOWN, "jobs", (["--json"], None))
    assert json.loads(run("jobs", {"data": [JOB], **PAGE}).stdout) == JOB


def test_a_bar_in_a_terminal_shows_a_name_as_text() -> None:
    written = StringIO()
    with shown_progress(as_json=False, console=Terminal(file=written, force_terminal=True, width=2000)) as show:
        show(Job.read(job_document("paused", name=f"{EVIL}\n", error={"message": EVIL})))
    for hidden in ("\x1b[31mA", "\x1b]0;", "\x07", "\u202e"):
        assert hidden not in written.getvalue()
    assert "\\x1b[31mA\\x1b]0;title\\x07[/red][bold]:smile:" in written.getvalue()


def test_the_end_of_a_log_keeps_its_lines_and_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    report_failure(PartFailed("api", "ended", "\x1b[31mone\x1b[0m\ntwo"), as_json=False)
    assert "\\x1b[31mone\\x1b[0m\ntwo" in capsys.readouterr().err


def test_columns_fit_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    table = plain_table("name", "status")
    table.add_row("\x1b[2J", "queued")
    table.add_row("birds", "queued")
    on_stderr().print(table)
    _, first, second = capsys.readouterr().err.splitlines()
    assert first.index("queued") == second.index("queued")


def test_text_stays_text() -> None:
    for text in ("é ß 日本語 עברית العربية 👩‍🚀 a\tb\nc", "back\\slash", ""):
        assert visible(text) == text
    assert visible_line("a\tb\nc") == "a\\tb\\nc"
    assert visible("\ud800\r\x9b\u202e") == "\\ud800\\r\\x9b\\u202e"


def test_a_line_that_is_written_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_line(on_stderr(), "[bold]a\nb[/nonsense]")
    assert capsys.readouterr().err == "[bold]a\\nb[/nonsense]\n"
