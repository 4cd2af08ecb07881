"""All parts under one supervisor, with the deterministic backend, and the command line against them."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.access.keys import Key, read_key
from tests.acceptance.served import Served, all_gone, data_folder, documents, icm, icm_here, served, until
from tests.long import LONG

pytestmark = pytest.mark.timeout(300)

SIGNALS = (signal.SIGTERM, signal.SIGINT) if LONG else (signal.SIGTERM,)
CONFIG = {
    "task": {
        "template": "{a} is larger than {b}?",
        "labels": ["Yes", "No"],
        "id_field": "id",
        "relations": [{"kind": "antisymmetric", "first": "a", "second": "b"}],
    }
}


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with data_folder() as folder, served(folder) as running:
        yield running


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with data_folder() as folder:
        yield folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pairs = [(low, low + 1) for low in range(12)]
    rows = [{"id": f"r{n}", "a": a, "b": b} for n, (a, b) in enumerate([*pairs, *(pair[::-1] for pair in pairs)])]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_data_set_is_labelled_and_downloaded_by_one_command(
    service: Served, data: Path, config: Path, tmp_path: Path
) -> None:
    output = tmp_path / "labelled.jsonl"
    done = icm("label", data, "-o", output, "--config", config, url=service.url)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"r{n}" for n in range(24)]
    assert all(row["icm_label"] in {"Yes", "No"} for row in rows)
    assert "24 of 24 rows labelled" in done.stdout
    assert "verdict:" in done.stdout
    assert "pairs succeeded" in done.stderr


def test_commands_with_json_write_documents_and_nothing_else(
    service: Served, data: Path, config: Path, tmp_path: Path
) -> None:
    done = icm_here("label", data, "-o", tmp_path / "a.csv", "--config", config, "--json", url=service.url)
    [labelled] = documents(done)
    job_id = labelled["job"]["id"]
    assert labelled["report"]["job_id"] == job_id
    assert done.stderr == ""
    assert job_id in [job["id"] for job in documents(icm_here("jobs", "--json", url=service.url))]
    assert documents(icm_here("watch", job_id, "--json", url=service.url))[-1]["status"] == "succeeded"
    page = tmp_path / "report.html"
    assert documents(icm_here("report", job_id, "--json", "--html", page, url=service.url))[0]["job_id"] == job_id
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert documents(icm_here("models", "--json", url=service.url))[0]["id"] == "default"
    output = tmp_path / "again.parquet"
    assert documents(icm_here("result", job_id, "-o", output, "--json", url=service.url)) == [{"output": str(output)}]
    assert output.read_bytes()[:4] == b"PAR1"


def test_an_estimate_shows_a_prompt_and_stores_nothing(service: Served, data: Path, config: Path) -> None:
    before = documents(icm_here("jobs", "--json", "--limit", "100", url=service.url))
    done = icm_here("estimate", data, "--config", config, url=service.url)
    assert done.returncode == 0, done.stderr
    assert "24 rows" in done.stdout
    assert "    0 is larger than 1?" in done.stdout
    assert documents(icm_here("jobs", "--json", "--limit", "100", url=service.url)) == before


def test_tables_for_people(service: Served, data: Path, config: Path, tmp_path: Path) -> None:
    icm_here("label", data, "-o", tmp_path / "a.csv", "--config", config, url=service.url)
    assert "succeeded" in icm_here("jobs", url=service.url).stdout
    assert "deterministic" in icm_here("models", url=service.url).stdout


def test_bad_rows_end_with_3_and_name_line_and_field(service: Served, config: Path, tmp_path: Path) -> None:
    data = tmp_path / "bad.jsonl"
    data.write_text('{"id": "x", "a": 1, "b": 2}\n{"id": "y", "a": 1}\n')
    done = icm_here("label", data, "-o", tmp_path / "a.csv", "--config", config, url=service.url)
    assert done.returncode == 3
    assert "line 2, field b" in done.stderr
    assert not (tmp_path / "a.csv").exists()


def test_a_finished_job_cannot_be_cancelled_which_ends_with_5(
    service: Served, data: Path, config: Path, tmp_path: Path
) -> None:
    done = icm_here("label", data, "-o", tmp_path / "a.csv", "--config", config, "--json", url=service.url)
    refused = icm_here("cancel", documents(done)[0]["job"]["id"], "--json", url=service.url)
    assert refused.returncode == 5
    assert refused.stdout == ""
    assert json.loads(refused.stderr)["error"]["status"] == 409


def test_an_ending_that_names_no_format_is_wrong_usage(data: Path, config: Path, tmp_path: Path) -> None:
    done = icm_here("label", data, "-o", tmp_path / "a.xlsx", "--config", config)
    assert done.returncode == 2
    assert ".parquet" in done.stderr


def test_a_worker_that_is_killed_is_started_again(service: Served, data: Path, config: Path, tmp_path: Path) -> None:
    [killed] = service.pids_of_labellers()
    os.kill(killed, signal.SIGKILL)
    assert until(lambda: service.pids_of_labellers() not in ([], [killed]))
    done = icm_here("label", data, "-o", tmp_path / "a.csv", "--config", config, url=service.url)
    assert done.returncode == 0, done.stderr


def test_a_database_that_is_killed_is_started_again(service: Served, data: Path, config: Path, tmp_path: Path) -> None:
    [killed] = service.pids_of_server()
    os.kill(killed, signal.SIGKILL)
    assert until(lambda: service.pids_of_server() not in ([], [killed]))
    done = icm_here("label", data, "-o", tmp_path / "a.csv", "--config", config, url=service.url)
    assert done.returncode == 0, done.stderr


def test_settings_that_a_part_cannot_use_are_reported_before_anything_starts(data_dir: Path) -> None:
    done = icm_here("serve", "--port", "0", "--data-dir", data_dir, "--backends", '{"kind": "oracle"}')
    assert done.returncode == 2
    assert "backends[0].kind" in done.stderr
    assert done.stdout == ""
    assert not data_dir.exists() or not list(data_dir.iterdir())


def test_a_data_folder_in_use_is_refused(service: Served) -> None:
    backend = '{"kind": "deterministic"}'
    done = icm_here("serve", "--port", "0", "--data-dir", service.data_dir, "--backends", backend)
    assert done.returncode == 6
    assert "another process uses this folder" in done.stderr


# The last test, since it ends the service of the others.
def test_however_a_service_ends_nothing_is_left_running_and_the_data_stays(
    service: Served, data: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (data, "-o", tmp_path / "a.csv", "--config", config)
    assert icm_here("label", *files, url=service.url).returncode == 0
    jobs = jobs_of(service)
    end(service, signal.SIGKILL, -signal.SIGKILL)
    monkeypatch.setenv("ICM_ACCESS__REQUIRED", "true")
    for number, how in enumerate(SIGNALS, 1):
        with served(service.data_dir) as running:
            key = first_key_of(running, monkeypatch)
            assert jobs_of(running) == jobs
            done = icm_here("label", *files, url=running.url)
            assert done.returncode == 0, done.stderr
            jobs = jobs_of(running)
            assert icm_here("keys", "revoke", key.id, "--data-dir", running.data_dir).returncode == 0
            refused = icm_here("jobs", url=running.url)
            assert (refused.returncode, key.text in refused.stderr + refused.stdout) == (5, False)
            end(running, how, 0)
        keys = documents(icm_here("keys", "list", "--json", "--data-dir", service.data_dir))  # which runs the database
        assert [found["revoked_at"] is None for found in keys] == [False] * number


def end(service: Served, how: signal.Signals, status: int) -> None:
    """End the service with this signal, and check that nothing is left running."""
    parts = service.parts()
    assert len(parts) >= 4  # itself, Postgres and its helpers, API, worker
    service.process.send_signal(how)
    assert service.process.wait(60) == status
    assert all_gone(parts), how


def first_key_of(service: Served, monkeypatch: pytest.MonkeyPatch) -> Key:
    """Create a key in a service that demands one, and let the commands that follow use it."""
    monkeypatch.delenv("ICM_API_KEY", raising=False)
    assert icm_here("jobs", url=service.url).returncode == 5
    made = icm_here("keys", "create", "first", "--data-dir", service.data_dir)
    assert made.returncode == 0, made.stderr
    key = read_key(made.stdout.strip())
    assert key.text not in made.stderr
    monkeypatch.setenv("ICM_API_KEY", key.text)
    return key


def jobs_of(service: Served) -> int:
    """The number of jobs that the service has, of the newest ones."""
    return len(documents(icm_here("jobs", "--json", "--limit", "100", url=service.url)))
