"""Reward models by the command line: files are scored, and one command leads from a part to a final reward model."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from icm import AsyncClient, Client
from icm.commands import label, rewards
from icm.commands.output import summary_of
from service.bootstrap import Application, build_application
from service.identifiers import WorkerId
from service.records.trainings import Artifact
from service.records.work import WorkKind, WorkStatus
from service.settings import Settings
from tests.support.commands import Bridge, Command, command_on
from tests.support.rewards import CONTEXT_WORDS, MANIFEST, reward_report
from tests.support.stores import ScratchStore
from tests.unit.api.test_scoring import Scoring, trained
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


async def test_faults_of_a_file_name_their_line(service: Scoring, command: Command, tmp_path: Path) -> None:
    reward = await trained(service)
    for lines, code, words in (
        ('{"text": "1"}\n{"txt": "2"}', 3, "line 2: the row has no column 'text'"),
        ('{"text": "1"}\n[]', 3, "line 2: a row must be a JSON object"),
        ('{"text": "1"}\n{', 3, "line 2"),
        ('{"text": "1"}\n{"text": ""}', 3, "line 2: 'text' is blank or null"),
        ('{"text": "1"}\n\n{"text": null}', 3, "line 3: 'text' is blank or null"),
        ('{"text": "1"}\n{"text": ["2"]}', 3, "line 2: 'text' holds a list or an object"),
        ('{"Text": "1"}', 3, "did you mean 'Text'?"),
        ('{"text": "1", "score": 7}', 3, "has a column 'score' already"),
        ('{"text": "1"}\n\n{"text": "' + "long " * CONTEXT_WORDS + '1"}', 3, "rows.jsonl, line 3: the text takes"),
        ("text\n1\n", 3, "line 1: a row must be a JSON object, in braces"),
        ('[{"text": "1"}]', 3, "line 1: a row must be a JSON object, in braces"),
        ("\n", 3, "there are no rows to score"),
    ):
        (tmp_path / "rows.jsonl").write_text(lines)
        done = await command("score", reward, str(tmp_path / "rows.jsonl"))
        assert (done.exit_code, words in done.stderr) == (code, True), done.stderr


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


async def test_one_command_leads_from_a_part_to_a_final_reward_model(
    service: Scoring, command: Command, tmp_path: Path
) -> None:
    sure = {(a, b) for a, b in ((0, 1), (3, 4), (6, 7))}
    rows = [{**row, "known": "True" if (row["a"], row["b"]) in sure else None} for row in ROWS]
    (tmp_path / "job.json").write_text(json.dumps({"task": {**TASK, "known_field": "known", "gold_field": "gold"}}))
    words = ["reward-labels", written(tmp_path / "rows.jsonl", rows), "-o", str(tmp_path / "out.jsonl")]
    words += ["-c", str(tmp_path / "job.json"), "--share", "0.5", "--holdout", "0.3", "--force", "--url", "http://x"]
    done = await work(service, asyncio.create_task(command(*words, "--json")))
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    part, rest = told["part"]["job"], told["rest"]["job"]
    assert (part["progress"]["rows"], rest["progress"]["rows"]) == (12, 12)
    assert (rest["config"]["method"], rest["config"]["reward"]) == ("reward_model", told["first"]["training"]["id"])
    assert told["first"]["training"]["config"]["job_ids"] == [part["id"]]
    assert told["final"]["training"]["config"]["job_ids"] == [part["id"], rest["id"]]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["a"], row["b"]) for row in lines] == [(row["a"], row["b"]) for row in ROWS]
    assert all(row["icm_label"] for row in lines)
    again = await work(service, asyncio.create_task(command(*words)))
    assert again.exit_code == 0, again.stderr
    assert told["final"]["training"]["id"] in again.stdout, "what was made is found again"
    assert "24 of 24 rows labelled" in again.stdout
    assert len((await service.client.get("/v1/trainings")).json()["data"]) == 2


async def test_a_configuration_that_compares_nothing_is_refused_before_anything_is_sent(
    service: Scoring, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(json.dumps({"task": {"template": "{a}"}}))
    rows = written(tmp_path / "rows.jsonl", ROWS)
    words = ("reward-labels", rows, "-c", str(tmp_path / "job.json"), "--url", "http://x", "-o")
    done = await command(*words, str(tmp_path / "out.jsonl"))
    assert (done.exit_code, "no relation antisymmetric" in done.stderr) == (2, True)
    assert "let its name end in .jsonl" in (await command(*words, str(tmp_path / "out.csv"))).stderr
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
