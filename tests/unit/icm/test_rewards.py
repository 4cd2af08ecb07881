"""Reward models by the command line: files are scored, and one command leads from a part to a final reward model."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from icm import AsyncClient, Client
from icm.commands import label, rewards
from icm.commands.output import summary_of
from icm.data.comparisons import divided
from service.bootstrap import Application, build_application
from service.identifiers import WorkerId
from service.records.trainings import Artifact
from service.records.work import WorkKind, WorkStatus
from service.settings import Settings
from tests.support.commands import Bridge, Command, command_on
from tests.support.rewards import CONTEXT_WORDS, MANIFEST, reward_report
from tests.support.stores import ScratchStore
from tests.unit.api.test_scoring import Scoring, trained
from tests.unit.intake.test_spreadsheet import workbook
from workers.worker import Worker

TASK = {"template": "{a} or {b}?", "relations": [{"kind": "antisymmetric", "first": "a", "second": "b"}]}
ROWS = [{"a": a, "b": b, "gold": str(a > b)} for low in range(12) for a, b in ((low, low + 1), (low + 1, low))]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Scoring]:
    settings = Settings.model_validate({"data_dir": tmp_path / "data", "training": {"bases": {"default": "a-model"}}})
    service = Scoring(ScratchStore(), settings=settings)
    async with service.client:
        yield service
    await service.store.close()


@pytest.fixture
async def command(service: Scoring, monkeypatch: pytest.MonkeyPatch) -> Command:
    return command_on(service, monkeypatch, rewards, label)


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


async def test_a_file_is_scored_row_by_row(service: Scoring, command: Command, tmp_path: Path) -> None:
    reward = await trained(service)
    rows = written(tmp_path / "rows.jsonl", [{"q": "x ", "text": str(number), "n": number} for number in range(300)])
    done = await command("score", reward, rows, "--prompt", "q")
    assert done.exit_code == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["n"], row["score"]) for row in found] == [(number, float(number)) for number in range(300)]
    assert [len(request) for request in service.rewards.requests] == [256, 44]
    output = tmp_path / "scored.jsonl"
    assert (await command("score", reward, rows, "-o", str(output))).stdout == ""
    assert len(output.read_text().splitlines()) == 300


def in_format(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows in the format that the name of the file says."""
    table, plain = pa.Table.from_pylist(rows), path.name.removesuffix(".gz")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    cells = [[*rows[0]], *([*map(str, row.values())] for row in rows)]
    match plain.rpartition(".")[2]:
        case "json":
            content = json.dumps(rows).encode()
        case "csv" | "tsv" as kind:
            content = "".join(("\t" if kind == "tsv" else ",").join(row) + "\n" for row in cells).encode()
        case "parquet":
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink)
            content = sink.getvalue().to_pybytes()
        case "xlsx":
            content = workbook(("Sheet", [[*rows[0]], *([*row.values()] for row in rows)]))
        case _:
            content = lines.encode()
    path.write_bytes(gzip.compress(content) if plain != path.name else content)
    return str(path)


@pytest.mark.usefixtures("reader_without_a_process")
async def test_rows_are_scored_in_every_format_that_jobs_take(
    service: Scoring, command: Command, tmp_path: Path
) -> None:
    reward = await trained(service)
    for name in ("rows", "rows.json", "rows.tsv", "rows.csv.gz", "rows.parquet", "rows.xlsx"):
        rows = in_format(tmp_path / name, [{"q": "x ", "text": str(number), "n": number} for number in range(3)])
        done = await command("score", reward, rows, "--prompt", "q")
        assert done.exit_code == 0, done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(row["text"], int(row["n"]), row["score"]) for row in found] == [("0", 0, 0), ("1", 1, 1), ("2", 2, 2)]


@pytest.mark.usefixtures("reader_without_a_process")
async def test_scores_are_written_in_the_format_of_the_file_or_in_one_that_people_name(
    service: Scoring, command: Command, tmp_path: Path
) -> None:
    reward = await trained(service)
    rows = in_format(tmp_path / "rows.parquet", [{"text": str(number), "n": number} for number in range(3)])
    for name, options in (("out.parquet", ()), ("out.csv", ()), ("out.tsv", ("--format", "csv")), ("out", ())):
        done = await command("score", reward, rows, "-o", str(tmp_path / name), *options)
        assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    typed = pq.read_table(tmp_path / "out.parquet")
    assert typed.schema.types == [pa.string(), pa.int64(), pa.float64()]
    assert typed.to_pylist()[2] == {"text": "2", "n": 2, "score": 2.0}
    assert (tmp_path / "out.csv").read_text() == "text,n,score\n0,0,0.0\n1,1,1.0\n2,2,2.0\n"
    assert (tmp_path / "out.tsv").read_text() == (tmp_path / "out.csv").read_text()
    assert (tmp_path / "out").read_text().splitlines()[0] == '{"text":"0","n":0,"score":0.0}'
    cells = in_format(tmp_path / "rows.csv", [{"text": "0", "n": 0}])
    assert (await command("score", reward, cells, "-o", str(tmp_path / "cells.parquet"))).exit_code == 0
    assert pq.read_table(tmp_path / "cells.parquet").schema.types == [pa.string(), pa.string(), pa.float64()]
    assert (await command("score", reward, rows, "--format", "csv")).stdout == (tmp_path / "out.csv").read_text()
    done = await command("score", reward, rows, "-o", str(tmp_path / "out.xlsx"))
    assert (done.exit_code, "use one of .jsonl, .csv, .parquet, or give --format" in done.stderr) == (2, True)
    assert not (tmp_path / "out.xlsx").exists()


async def test_faults_of_a_file_name_their_line(service: Scoring, command: Command, tmp_path: Path) -> None:
    reward = await trained(service)
    for lines, code, words in (
        ('{"text": "1"}\n{"txt": "2"}', 3, "line 2, field text: the row has no column 'text'"),
        ('{"text": "1"}\n[]', 3, "line 2: the line is not a JSON object"),
        ('{"text": "1"}\n{', 3, "line 2"),
        ('{"text": "1"}\n{"text": ""}', 3, "line 2, field text: it is blank or null"),
        ('{"text": "1"}\n\n{"text": null}', 3, "line 3, field text: it is blank or null"),
        ('{"text": "1"}\n{"text": ["2"]}', 3, "line 2, field text: it is a list or an object"),
        ('{"Text": "1"}', 3, "field text: no row has the column 'text' (did you mean 'Text'?); there are: Text"),
        ('{"text": "1", "score": 7}', 3, "line 1, field score: the row has this column already"),
        ('{"text": "1"}\n\n{"text": "' + "long " * CONTEXT_WORDS + '1"}', 3, "line 3, field text: the text takes"),
        ("text\n1\n", 3, "rows.jsonl: the file is named as JSON, but its first line is not valid JSON"),
        ('[{"text": "1"},\n{"text": ""}]', 3, "line 2, field text: it is blank or null"),
        ("\n", 3, "rows.jsonl: there are no rows"),
    ):
        (tmp_path / "rows.jsonl").write_text(lines)
        done = await command("score", reward, str(tmp_path / "rows.jsonl"))
        assert (done.exit_code, words in done.stderr) == (code, True), done.stderr
    (tmp_path / "rows.csv").write_text('text,n\n"a\nb",1\n2\n ,3\n')
    done = await command("score", reward, str(tmp_path / "rows.csv"))
    assert "line 4: the row has 1 cell, the header 2" in done.stderr
    (tmp_path / "rows.csv").write_text("texts of people,\ntext,n\n1,2\n")
    done = await command("score", reward, str(tmp_path / "rows.csv"))
    assert "remove what stands above the line with the names" in done.stderr


async def test_the_client_scores_texts_and_responses(service: Scoring) -> None:
    reward = await trained(service)
    bridge = Bridge(service)

    def blocking() -> tuple[float, ...]:
        with Client("http://localhost", transport=bridge) as client:
            return client.score(reward, ["so 2"], prompts=[("Why?\n", ["3", "1"])])

    assert await asyncio.to_thread(blocking) == (2.0, 3.0, 1.0)
    async with AsyncClient("http://localhost", transport=service.client._transport) as client:
        assert await client.trainings.score(reward, ["4"]) == (4.0,)


async def work(service: Scoring, asking: "asyncio.Task[Result]") -> Result:
    """What workers do until the command has ended: label, and train in no time."""
    wired = build_application(service.settings, store=service.store)
    worker = Worker(
        Application(wired.settings, service.store, service.scorers), WorkerId("worker"), kinds=(WorkKind.LABEL,)
    )
    while not asking.done():
        async with service.store.worker_unit() as unit:
            claimed = await unit.work.claim((WorkKind.TRAIN,), WorkerId("trainer"), 60.0)
        if claimed is not None:
            async with service.store.worker_unit() as unit:
                files = Artifact("a" * 64, 9)
                await unit.trainings.finish(claimed.lease, files, manifest=MANIFEST, report=reward_report())
                await unit.work.finish(claimed.lease, WorkStatus.SUCCEEDED, summary={})
        elif not await worker.work_once():
            await service.store.wait_for_work(0.05)
    return asking.result()


@pytest.mark.usefixtures("reader_without_a_process")
async def test_one_command_leads_from_a_part_to_a_final_reward_model(
    service: Scoring, command: Command, tmp_path: Path
) -> None:
    sure = {(a, b) for a, b in ((0, 1), (3, 4), (6, 7))}
    rows = [{**row, "known": "True" if (row["a"], row["b"]) in sure else None} for row in ROWS]
    (tmp_path / "job.json").write_text(json.dumps({"task": {**TASK, "known_field": "known", "gold_field": "gold"}}))
    words = ["reward-labels", in_format(tmp_path / "rows.parquet", rows), "-c", str(tmp_path / "job.json")]
    words += ["--share", "0.5", "--holdout", "0.3", "--force", "--url", "http://x"]
    first = command(*words, "--json", "-o", str(tmp_path / "out.parquet"))
    done = await work(service, asyncio.create_task(first))
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    part, rest = told["part"]["job"], told["rest"]["job"]
    assert (part["progress"]["rows"], rest["progress"]["rows"]) == (12, 12)
    assert (rest["config"]["method"], rest["config"]["reward"]) == ("reward_model", told["first"]["training"]["id"])
    assert told["first"]["training"]["config"]["job_ids"] == [part["id"]]
    assert told["final"]["training"]["config"]["job_ids"] == [part["id"], rest["id"]]
    labelled = pq.read_table(tmp_path / "out.parquet")
    texts, numbers = [pa.string()], [pa.float64()]
    assert labelled.schema.types == [pa.int64(), pa.int64(), *texts * 3, *numbers * 2, *texts]
    assert [(row["a"], row["b"]) for row in labelled.to_pylist()] == [(row["a"], row["b"]) for row in ROWS]
    assert all(row["icm_label"] for row in labelled.to_pylist())
    again = await work(service, asyncio.create_task(command(*words, "-o", str(tmp_path / "out.csv"))))
    assert again.exit_code == 0, again.stderr
    assert told["final"]["training"]["id"] in again.stdout, "what was made is found again"
    assert "24 of 24 rows labelled" in again.stdout
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert (lines[0], len(lines)) == ("a,b,gold,known,icm_label,icm_confidence,icm_margin,icm_status", 25)
    assert len((await service.client.get("/v1/trainings")).json()["data"]) == 2


async def test_rows_that_the_service_refuses_are_told_by_the_lines_of_the_file(
    service: Scoring, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"task": {**TASK, "known_field": "known"}}))
    rows = in_format(tmp_path / "rows.csv", [{**row, "known": "perhaps"} for row in ROWS])
    words = ("reward-labels", rows, "-c", str(tmp_path / "job.json"), "--url", "http://x", "--share", "0.1")
    done = await command(*words, "-o", str(tmp_path / "out.csv"))
    assert done.exit_code == 3, done.stderr
    told = [int(line) for line in re.findall(r"line (\d+), field known: ", done.stderr)]
    assert told == [line + 2 for line in divided(ROWS, ("a", "b", ()), 0.1).first]
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n2\n")
    done = await command(*words, "-o", str(tmp_path / "out.csv"))
    assert "line 3: the row has 1 cell" in done.stderr


async def test_a_configuration_that_compares_nothing_is_refused_before_anything_is_sent(
    service: Scoring, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"task": {"template": "{a}"}}))
    rows = written(tmp_path / "rows.jsonl", ROWS)
    words = ("reward-labels", rows, "-c", str(tmp_path / "job.json"), "--url", "http://x", "-o")
    done = await command(*words, str(tmp_path / "out.jsonl"))
    assert (done.exit_code, "no relation antisymmetric" in done.stderr) == (2, True)
    assert "use one of .jsonl, .csv, .parquet" in (await command(*words, str(tmp_path / "out.xlsx"))).stderr
    assert (await service.client.get("/v1/jobs")).json()["data"] == []


def test_a_summary_tells_what_labels_by_a_reward_model_stand_on() -> None:
    basis = {"training_id": "train_1", "pairs": 90, "job_ids": ["job_1"], "ties": 2, "agreement": None}
    report = {"verdict": "ok", "reward_model": basis}
    assert summary_of(report)[1] == (
        "reward model: train_1, learned 90 pairs of job_1; nothing held out of its training; 2 rows tie"
    )
    report["reward_model"] = {**basis, "ties": 0, "agreement": {"hits": 9, "rows": 10}}
    assert summary_of(report)[1].endswith("of job_1; ranks 9 of 10 held-out pairs as their labels do")
    assert len(summary_of({"verdict": "ok"})) == 1
