import re
from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from icm.cli import build_app
from icm.commands.failures import BadConfigFile
from icm.commands.jobs import check_output
from icm.commands.options import read_config
from icm.commands.output import Terminal, count, known_lines, summary_of
from icm.commands.progress import figures, shown_progress
from icm.commands.serve import read_backends
from icm.documents import Job
from tests.unit.icm.fake_service import job_document

PROGRESS = {
    "rows": 200,
    "labeled": 50,
    "iterations": 80,
    "accepted": 20,
    "utility": -1.25,
    "tokens_sent": 1_234_000,
    "tokens_computed": 56_780,
    "eta_seconds": 12.4,
}


def job(status: str, **progress: float | None) -> Job:
    return Job.read(job_document(status, progress={**PROGRESS, **progress}))


def test_figures_of_a_running_job() -> None:
    expected = "utility -1.25  accepted 25%  tokens 1.2M sent, 56.8k computed  12 s left"
    assert figures(job("running")) == expected


def test_a_paused_job_says_what_it_waits_for() -> None:
    error = {"code": "backend_unavailable", "message": "connection refused"}
    paused = Job.read(job_document("paused", progress={"rows": 2}, error=error))
    assert figures(paused) == "waits: connection refused"


def test_what_is_not_known_yet_is_not_shown() -> None:
    assert figures(job("queued", utility=None, iterations=0, tokens_sent=0, eta_seconds=None)) == ""


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (9_999, "9999"), (10_000, "10.0k"), (4_500_000, "4.5M"), (2e9, "2.0G")]
)
def test_large_numbers_are_shown_short(number: float, text: str) -> None:
    assert count(number) == text


def test_outside_a_terminal_progress_is_lines_and_every_status_is_shown() -> None:
    written = StringIO()
    with shown_progress(as_json=False, console=Console(file=written, force_terminal=False)) as show:
        for status in ("queued", "running", "running", "succeeded"):
            show(job(status))
    lines = written.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["queued", "running", "succeeded"]
    assert "50/200 rows" in lines[1]
    assert "left" not in lines[2]


def test_in_a_terminal_progress_is_a_bar() -> None:
    written = StringIO()
    with shown_progress(as_json=False, console=Console(file=written, force_terminal=True, width=160)) as show:
        show(job("running"))
    assert "50/200" in written.getvalue()
    assert "accepted 25%" in written.getvalue()


def test_at_80_columns_bar_rows_and_times_are_whole_and_the_rest_gives_way() -> None:
    written = StringIO()
    long = Job.read(job_document("running", name="a very long name " * 9, progress={**PROGRESS, "rows": 100_000}))
    with shown_progress(as_json=False, console=Terminal(file=written, force_terminal=True, width=80)) as show:
        show(long)
    last = [line for line in written.getvalue().splitlines() if "100000" in line][-1]
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", last).strip()
    assert re.match(r"\S+ +50/100000 0:00:\d\d 12 s left running ", shown), shown
    assert len(shown) <= 80


def test_a_report_in_a_few_lines() -> None:
    report = {
        "verdict": "suspicious",
        "reasons": [{"code": "imbalance", "verdict": "suspicious", "message": "9 of 10 rows are True"}],
        "labels": [{"label": "True", "rows": 9, "share": 0.9}, {"label": "False", "rows": 1, "share": 0.1}],
        "accuracy": 0.9,
        "gold_rows": 12,
        "gold_rows_unmatched": 2,
        "gold_values_unmatched": [{"value": "yes", "rows": 2}],
        "cost": {"tokens_sent": 900, "tokens_computed": 90, "seconds": 1.5},
    }
    assert summary_of(report) == [
        "verdict: suspicious",
        "  suspicious: 9 of 10 rows are True",
        "labels: True 9, False 1",
        "accuracy: 0.900 on 10 rows with gold labels",
        "gold: 2 of 12 rows hold none of the labels: 'yes' in 2",
        "cost: 900 tokens sent, 90 computed, 1.5 s",
    ]


def test_headline_numbers_and_baselines_are_in_the_summary_as_far_as_they_are_known() -> None:
    report = {
        "verdict": "ok",
        "coherence": {"gain_nats": 0.6931, "gain_share": 0.94, "polarity_nats": None, "restart_agreement": 0.975},
        "baselines": [
            {"name": "zero_shot", "rows": 40, "agreement": 0.6, "accuracy": 0.5, "job_accuracy": 0.9},
            {"name": "few_shot_random", "rows": 2, "agreement": None, "accuracy": None},
        ],
    }
    assert summary_of(report) == [
        "verdict: ok",
        (
            "coherence: gain over shuffled labels 0.693 nats per row, share of their cost saved 94%, "
            "agreement of restarts 98%"
        ),
        "baseline zero_shot: 40 rows, 60% labelled as by the job, accuracy 0.500, of the job 0.900",
        "baseline few_shot_random: 2 rows",
    ]


def test_information_gain_is_named_so_and_known_rows_estimate_the_accuracy() -> None:
    report = {
        "verdict": "ok",
        "coherence": {"gain_nats": 0.3, "gain_share": 0.5},
        "search": {"gain_nats": 0.3},
        "known_accuracy": {"hits": 14, "rows": 16, "share": 0.875, "lower": 0.6398, "upper": 0.9653},
    }
    assert summary_of(report) == [
        "verdict: ok",
        "coherence: information gain 0.300 nats per row, share of the labels' entropy 50%",
        "accuracy on the known rows when they are left out: 14 of 16, 0.64 to 0.97",
    ]
    assert not any("known" in line for line in summary_of({**report, "known_accuracy": None}))


def test_a_configuration_without_a_name_is_named_after_the_data(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + b'{"task": {}}')
        assert read_config(path, name="claims") == {"name": "claims", "task": {}}
    path.write_text('{"name": "own"}')
    assert read_config(path, name="claims") == {"name": "own"}


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_configuration_that_is_no_object_is_refused_with_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(BadConfigFile, match=r"c\.json"):
        read_config(path, name="claims")


def test_backends_are_read_from_text_or_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "backends.json"
    path.write_text('[{"name": "a"}]')
    assert read_backends(str(path)) == [{"name": "a"}]
    assert read_backends('{"name": "b"}') == [{"name": "b"}]


def test_an_output_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="ending"):
        check_output(tmp_path / "labelled.txt")
    data = tmp_path / "data.jsonl"
    data.touch()
    with pytest.raises(typer.BadParameter, match="is the data set itself"):
        check_output(tmp_path / "." / "data.jsonl", data)
    check_output(tmp_path / "other.jsonl", data)
    with pytest.raises(typer.BadParameter, match="no such folder"):
        check_output(tmp_path / "nowhere" / "labelled.csv")


def test_a_report_is_never_written_over_another_file_of_the_command(tmp_path: Path) -> None:
    data, config = tmp_path / "rows.jsonl", tmp_path / "config.json"
    data.touch()
    config.write_text("{}")
    (tmp_path / "link.html").symlink_to(data)
    for page in (data, config, tmp_path / "new.csv", tmp_path / "link.html"):
        words = ["label", str(data), "-o", str(tmp_path / "new.csv"), "--config", str(config), "--report", str(page)]
        done = CliRunner().invoke(build_app(), words, env={"COLUMNS": "300"})
        assert (done.exit_code, "give another name" in done.stderr) == (2, True), done.stderr
    assert (data.read_bytes(), config.read_text()) == (b"", "{}")


def test_prompts_answered_from_memory_are_shown_with_the_cost() -> None:
    cost = {"tokens_sent": 20_000, "tokens_computed": 1_000, "prompts_remembered": 12}
    assert summary_of({"verdict": "ok", "cost": cost})[-1] == (
        "cost: 20.0k tokens sent, 1000 computed, 12 prompts answered from memory"
    )


def test_known_rows_are_shown_in_a_line_if_there_are_any() -> None:
    assert known_lines({"Yes": 3, "No": 0}) == ["3 known rows: 3 Yes, 0 No"]
    assert known_lines({}) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"task": {"labels": ["a"], "labels": ["b"]}}', "'labels' is given more than once"),
        (b'{"name": "caf\xe9"}', "not valid UTF-8"),
        (b'{"search": {"alpha": NaN}}', "NaN and Infinity are not JSON"),
    ],
)
def test_a_configuration_is_refused_as_the_service_would_refuse_it(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(content)
    with pytest.raises(BadConfigFile, match=told):
        read_config(path, name="claims")
