"""Reward models in use: asked line by line, behind `POST /v1/score`, and as what labels the rest of the pairs."""

import asyncio
import io
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from icm.commands import label, rewards
from icm.data.comparisons import divided
from inference.settings import SMALL_MODEL
from service.bootstrap import Application, build_application
from service.identifiers import WorkerId, new_training_id
from service.records.access import LOCAL_CALLER
from service.records.trainings import Artifact, NewTraining
from service.records.work import WorkKind, WorkStatus
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers
from service.settings import Settings
from tests.support.commands import Command, command_on
from tests.support.running.harness import Service
from tests.support.stores import ScratchStore
from tests.training.conftest import Finished
from tests.training.written import number
from training.command import main
from training.progress import Progress
from training.supervision import StopRequest
from workers.worker import Worker

pytestmark = pytest.mark.timeout(300)  # processes are loaded, which takes long where many are

TASK: dict[str, Any] = {
    "template": "A: {a}\nB: {b}\nA is better than B:",
    "known_field": "known",
    "gold_field": "gold",
    "relations": [{"kind": "antisymmetric", "first": "a", "second": "b"}],
}
TRUE, FALSE = "True", "False"


def twins(count: int, seed: int, *, known: int = 0) -> list[dict[str, Any]]:
    """Claims to compare, each pair twice: the true one is better. The first `known` rows say so themselves."""
    rng, rows = Random(seed), []
    for _ in range(count):
        low, high = (number(value) for value in sorted(rng.sample(range(51, 100), 2)))
        true, false = f"{high.capitalize()} is larger than {low}.", f"{low.capitalize()} is larger than {high}."
        rows += [{"a": true, "b": false, "gold": TRUE}, {"a": false, "b": true, "gold": FALSE}]
    return [{**row, "known": row["gold"] if place < known else None} for place, row in enumerate(rows)]


class Place(Service):
    """A service in one process with a worker, whose trainings and reward models are real."""

    def __post_init__(self) -> None:
        super().__post_init__()
        wired = build_application(self.settings, store=self.store)
        self.scorers = ConfiguredScorers({"default": self.backend}, rewards=wired.scorers.rewards)
        self.application = Application(self.settings, self.store, self.scorers)

    async def worked(self) -> bool:
        """Do one work item of any kind."""
        kinds = (WorkKind.LABEL, WorkKind.TRAIN)
        return await Worker(self.application, WorkerId("worker"), kinds=kinds).work_once()

    async def made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What was asked for, once workers have done it."""
        answer = await self.client.post(path, json=body)
        assert answer.status_code == 202, answer.text
        while await self.worked():
            pass
        found: dict[str, Any] = (await self.client.get(answer.json()["links"]["self"])).json()
        assert (found["status"], found["error"]) == ("succeeded", None)
        return found


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Place]:
    store = ScratchStore()
    training = {"bases": {"default": str(SMALL_MODEL)}, "device": "cpu"}
    settings = Settings.model_validate({"data_dir": tmp_path / "data", "training": training})
    service = Place(store, backend=DeterministicScorer(), settings=settings)
    async with service.client:
        yield service
    await service.scorers.close()
    await store.close()


async def stored(service: Place, folder: Path) -> str:
    """A training as a worker leaves it, with the files that the command has made."""
    new = NewTraining(
        id=new_training_id(),
        config={"job_ids": ["job_0"], "kind": "reward", "force": True},
        base="default",
        spec={"kind": "reward"},
        rows=64,
        examples=Artifact("e" * 64, 20),
    )
    async with service.store.project_unit(LOCAL_CALLER) as unit:
        await unit.trainings.add(new)
    files = await service.artifacts.put(new.id, folder / "adapter")
    manifest, report = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("manifest", "report"))
    async with service.store.worker_unit() as unit:
        work = await unit.work.claim((WorkKind.TRAIN,), WorkerId("trainer"), 60.0)
        assert work is not None
        await unit.trainings.finish(work.lease, files, manifest=manifest, report=report)
        await unit.work.finish(work.lease, WorkStatus.SUCCEEDED, summary={})
    return new.id


async def test_a_reward_model_scores_texts_and_labels_the_rest(
    service: Place, reward_model: Finished, tmp_path: Path
) -> None:
    training = await stored(service, reward_model.out)
    fresh = twins(20, 1)
    task = {name: value for name, value in TASK.items() if name != "known_field"}
    config = {"task": task, "method": "reward_model", "reward": training}
    rest = await service.made("/v1/jobs", {"config": config, "examples": fresh})
    found = await service.get(rest["id"], "/report")
    assert found["accuracy"] >= 0.9
    basis = found["reward_model"]
    assert (basis["training_id"], basis["job_ids"], basis["agreement"]["rows"]) == (training, ["job_0"], 16)
    assert found["inconsistencies"] == 0
    assert "reward_forced" in {reason["code"] for reason in found["reasons"]}
    await check_scores(service, training, rest["id"], fresh)
    answer = await service.client.get(f"/v1/jobs/{rest['id']}/report", params={"format": "html"})
    assert training in answer.text
    assert list((tmp_path / "data" / "reward-models").glob("[!.]*")) == [], "no files are left behind"


async def check_scores(service: Place, reward: str, job_id: str, rows: list[dict[str, Any]]) -> None:
    """The job's labels follow from what the service says of the same texts."""
    prompts = [{"prompt": "", "responses": [row["a"], row["b"]]} for row in rows]
    answer = await service.client.post("/v1/score", json={"reward": reward, "prompts": prompts})
    assert answer.status_code == 200, answer.text
    told = [one["score"] for one in answer.json()["data"]]
    labels = (await service.get(job_id, "/labels"))["data"]
    for row, first, second in zip(labels, told[::2], told[1::2], strict=True):
        assert row["icm_label"] == (TRUE if first > second else FALSE)
        assert row["icm_margin"] == pytest.approx(abs(first - second), abs=1e-4)
        assert row["icm_confidence"] == pytest.approx(1 / (1 + math.exp(-abs(first - second))), abs=1e-4)
    long = {"reward": reward, "texts": ["Two is larger than one.", "one " * 9000]}
    refused = await service.client.post("/v1/score", json=long)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "texts.1")


def asked(folder: Path, lines: list[str], *options: str) -> tuple[int, list[dict[str, Any]]]:
    """The command within this process: its status and its events."""
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
        patch.setattr(StopRequest, "end_at_once", lambda _: None)
        status = main(Progress(told), StopRequest(), ["rewards", str(folder), *options])
    return status, [json.loads(line) for line in told.getvalue().splitlines()]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT's to change
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "standard input, line 2: is not JSON"),
        ('["a"]', "standard input, line 2: texts: must be a list of texts"),
        ('{"texts": [""]}', "standard input, line 2: texts: must be a list of texts"),
    ],
)
def test_a_line_that_cannot_be_read_ends_the_command_by_its_number(
    reward_model: Finished, line: str, words: str
) -> None:
    lines = [json.dumps({"texts": ["Two is larger than one.", "one " * 9000]}), line]
    status, (ready, first, end) = asked(reward_model.out, lines, "--base", str(SMALL_MODEL), "--device", "cpu")
    assert ready["event"] == "ready"
    assert (first["id"], first["rewards"][1]) == ("1", None)
    assert (status, words in end["reason"]) == (2, True)


def test_what_is_no_reward_model_is_refused_and_so_is_another_base(reward_model: Finished, tmp_path: Path) -> None:
    for folder, options, words in (
        (tmp_path, (), "holds no finished training"),
        (reward_model.out, (), "--base: the reward model is an adapter"),
        (reward_model.out, ("--base", "nowhere/at-all"), "base: 'nowhere/at-all'"),
    ):
        status, [end] = asked(folder, [], *options)
        assert (status in {2, 3}, words in end["reason"]) == (True, True), end


@pytest.fixture
async def command(service: Place, monkeypatch: pytest.MonkeyPatch) -> Command:
    return command_on(service, monkeypatch, rewards, label)


@pytest.mark.long
async def test_one_command_leads_from_a_part_to_a_final_reward_model(
    service: Place, command: Command, tmp_path: Path
) -> None:
    rows = twins(100, 2)
    sure = divided(rows, ("a", "b", ()), 0.5).first[::2]  # the labels of half of those that are searched, but for one
    rows = [{**row, "known": row["gold"] if place in sure[1:] else None} for place, row in enumerate(rows)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "job.json").write_text(json.dumps({"task": TASK}))
    words = ("reward-labels", str(tmp_path / "rows.jsonl"), "-o", str(tmp_path / "out.jsonl"), "-c")
    options = (
        str(tmp_path / "job.json"),
        "--share",
        "0.5",
        "--first-epochs",
        "3",
        "--force",
        "--url",
        "http://x",
        "--json",
    )
    asking = asyncio.create_task(command(*words, *options))
    while not asking.done():
        if not await service.worked():
            await service.store.wait_for_work(0.05)
    done = asking.result()
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    part_id, rest_id = told["part"]["job"]["id"], told["rest"]["job"]["id"]
    assert told["rest"]["job"]["config"]["reward"] == told["first"]["training"]["id"]
    assert told["rest"]["report"]["reward_model"]["job_ids"] == [part_id]
    assert told["final"]["training"]["config"]["job_ids"] == [part_id, rest_id]
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["a"], row["b"]) for row in written] == [(row["a"], row["b"]) for row in rows]
    assert sum(row["icm_label"] == row["gold"] for row in written) >= 0.9 * len(rows)
    again = await command(*words, *options)
    assert json.loads(again.stdout)["final"]["training"]["id"] == told["final"]["training"]["id"]
