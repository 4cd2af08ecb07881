"""From a finished job to a trained adapter: API, queue, worker, the command itself, and the download."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import httpx
import pytest
from safetensors import safe_open

from icm.data.archives import unpack
from inference.adapters.registry import AdapterLimits, Adapters
from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.model.language_model import Source, load
from inference.settings import SMALL_MODEL, Limits
from service.bootstrap import Application, build_application
from service.identifiers import WorkerId, new_training_id
from service.ports.training import OnEvent
from service.records.access import LOCAL_CALLER
from service.records.trainings import NewTraining, TrainingEnd, TrainingEvent, TrainingOutcome
from service.records.work import WorkKind, WorkStatus
from service.settings import Settings
from service.training_process.child import EXAMPLES, SPEC, TrainingChild
from service.trainings.request import parse_request
from tests.support.inference.served import served
from tests.support.running.harness import Service, pairs
from tests.support.stores import ScratchStore
from tests.training.running import run
from tests.training.test_policy import judges
from tests.training.written import number
from workers.worker import Worker

__all__ = ["judges"]  # a fixture
pytestmark = pytest.mark.timeout(300)  # processes are loaded, which takes long where many are

ROWS = {"statuses": ["labeled", "uncertain"], "holdout": 0.25}


class ForkedTraining(TrainingChild):
    """The command in a process that is forked with its libraries loaded, rather than started."""

    forks: ClassVar[ForkServerContext]

    async def run(self, on_event: OnEvent, stop: asyncio.Event) -> TrainingOutcome:
        """Train to the end."""
        spec = self._folder / SPEC
        spec.write_text(json.dumps({**self._spec, "examples": EXAMPLES}), "utf-8")
        status, training = await asyncio.to_thread(run, self.forks, spec, self.out)
        assert status == 0, training.errors.read_text("utf-8")
        for event in training.events():
            await on_event(TrainingEvent(event.pop("event"), event))
        [end] = training.events("end")
        return TrainingOutcome(TrainingEnd.FINISHED, "", self.out / end["artifact"], end["sha256"])


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    store = ScratchStore()
    training = {"bases": {"default": str(SMALL_MODEL)}, "device": "cpu"}
    engine = Engine(load(Source(str(SMALL_MODEL), "cpu")), CacheLimits())
    adapters = Adapters(engine.language_model, AdapterLimits(tmp_path / "artifacts"))
    with served(create_app(engine, Limits(), adapters=adapters)) as url:
        backend = {"name": "default", "kind": "embedded", "url": url}
        given = {"data_dir": tmp_path, "training": training, "backends": [backend]}
        service = Service(store, settings=Settings.model_validate(given))
        async with service.client:
            yield service
    await store.close()


async def trained(service: Service, rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A training on the labels of a job, done by a worker."""
    job = await service.labelled(rows)
    asked = {"job_ids": [job["id"]], "force": True, "epochs": 1, "rank": 2, "rows": ROWS, **changes}
    made = (await service.client.post("/v1/trainings", json=asked)).json()
    application = build_application(service.settings, store=service.store)
    assert await Worker(application, WorkerId("trainer"), kinds=(WorkKind.TRAIN,)).work_once()
    training: dict[str, Any] = (await service.client.get(made["links"]["self"])).json()
    assert (training["status"], training["error"]) == ("succeeded", None)
    return training


async def test_labels_of_a_job_become_an_adapter(service: Service, tmp_path: Path) -> None:
    training = await trained(service, pairs(16))
    here = training["links"]["self"]
    archive = tmp_path / "adapter.tar"
    archive.write_bytes((await service.client.get(f"{here}/adapter")).content)
    unpack(archive, tmp_path / "adapter", training["artifact"]["sha256"])
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "numpy") as weights:
        assert {weights.get_slice(name).get_shape()[0] for name in weights.keys() if "lora_A" in name} == {2}  # noqa: SIM118 - no mapping
    report = (await service.client.get(f"{here}/report")).json()
    check_report(report)
    told = (await service.client.get(f"{here}/events", headers={"Accept": "application/json"})).json()["data"]
    kinds = [event["type"] for event in told]
    assert kinds[:2] == ["job.created", "job.running"]
    assert {
        "training.started",
        "training.rows",
        "training.evaluation",
        "training.progress",
        "training.finished",
    } <= set(kinds)
    assert kinds[-1] == "job.succeeded"
    assert str(tmp_path) not in str((told, report, training)), "no path of the machine is told"
    await check_served(service, training["id"])


async def check_served(service: Service, training_id: str) -> None:
    """A further job names the training, with nothing restarted in between."""
    application = build_application(service.settings, store=service.store)
    service.scorers = application.scorers
    job = await service.post(model=training_id, method="zero_shot")
    assert await Worker(application, WorkerId("worker"), kinds=(WorkKind.LABEL,)).work_once()
    ended = await service.get(job["id"])
    assert (ended["status"], ended["progress"]["labeled"], ended["error"]) == ("succeeded", 8, None)
    await application.close()


@pytest.mark.long
async def test_permuted_gold_changes_no_byte_of_an_adapter(service: Service) -> None:
    """The control by gold learns from it in the same process, and the report measures by it."""
    rows = pairs(16)
    permuted = [{**row, "gold": other["gold"]} for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]
    told = []
    for gold in (rows, permuted):
        training = await trained(service, gold, controls=["gold"])
        report = (await service.client.get(training["links"]["report"])).json()
        told.append((training["artifact"], report["manifest"], report["report"]["controls"]["gold"]["epochs"]))
    first, second = told
    assert first[:2] == second[:2]
    assert first[2] != second[2], "gold did differ"


def check_report(found: dict[str, Any]) -> None:
    manifest, report = found["manifest"], found["report"]
    assert (manifest["settings"]["epochs"], manifest["settings"]["rank"]) == (1, 2)
    assert (report["rows"]["trained"], report["rows"]["held_out"]) == (12, 4)
    assert report["training"]["steps"] == 2


def comparisons(first: int, last: int) -> list[dict[str, Any]]:
    """A row for each number, which is compared with the next one."""
    return [{"one": number(value).capitalize(), "other": number(value + 1)} for value in range(first, last)]


async def stored(service: Service, folder: Path) -> str:
    """The reward model in a folder of the command, as the training of a worker."""
    artifacts, training_id = service.artifacts, new_training_id()
    manifest, report = (json.loads((folder / name).read_text("utf-8")) for name in ("manifest.json", "report.json"))
    artifact = await artifacts.put(training_id, folder / "adapter")
    config = parse_request({"kind": "reward", "job_ids": [f"job_of_{folder.name}"]}).model_dump(mode="json")
    new = NewTraining(id=training_id, config=config, base="default", spec={}, rows=1, examples=artifact)
    async with service.store.project_unit(LOCAL_CALLER) as unit:
        await unit.trainings.add(new)
    async with service.store.worker_unit() as unit:
        work = await unit.work.claim((WorkKind.TRAIN,), WorkerId("earlier"), 60.0)
        assert work is not None
        await unit.trainings.finish(work.lease, artifact, manifest=manifest, report=report)
        await unit.work.finish(work.lease, WorkStatus.SUCCEEDED)
    return training_id


async def test_a_policy_is_trained_on_prompts_of_a_job_against_a_finished_reward_model(
    service: Service, judges: Path, forks: ForkServerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.training.TrainingChild", ForkedTraining)
    monkeypatch.setattr(ForkedTraining, "forks", forks, raising=False)
    task = {"template": "{one} is larger than {other}. It is", "labels": ["True", "False"]}
    job = await service.labelled(comparisons(51, 67), task=task)
    reward, judge = [await stored(service, judges / name) for name in ("reward", "judge")]
    policy: dict[str, Any] = {"reward": reward, "judge": judge, "prompt": "{one} is larger than", "stop": "\n"}
    policy |= {"completions": 2, "completion_tokens": 4}
    asked = {"kind": "policy", "job_ids": [job["id"]], "epochs": 2, "rank": 2, "rows": {"holdout": 0.5}}
    answer = await service.client.post("/v1/trainings", json={**asked, "policy": policy})
    assert answer.status_code == 202, answer.text
    made = answer.json()
    application = build_application(service.settings, store=service.store)
    assert await Worker(application, WorkerId("trainer"), kinds=(WorkKind.TRAIN,)).work_once()
    training = (await service.client.get(made["links"]["self"])).json()
    assert (training["status"], training["error"]) == ("succeeded", None)
    expected = {"jobs": [job["id"]], "reward": reward, "judge": judge}
    assert training["lineage"] == {**expected, "reward_jobs": ["job_of_reward"], "judge_jobs": ["job_of_judge"]}
    assert {"reward", "kl_nats"} <= training["progress"].keys()
    check_policy(await report_of(service, made), judges)
    page = (await service.client.get(f"{made['links']['self']}/report?format=html")).text
    assert all(told in page for told in ("win rate", "KL divergence from the base</b>", reward, judge))
    assert str(tmp_path) not in str((training, page)), "no path of the machine is told"


async def report_of(service: Service, made: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await service.client.get(f"{made['links']['self']}/report")).json()
    return found


def check_policy(found: dict[str, Any], judges: Path) -> None:
    report = found["report"]
    assert (report["rows"]["trained"], report["rows"]["held_out"]) == (8, 8)
    for name in ("reward", "judge"):
        manifest = json.loads((judges / name / "manifest.json").read_text("utf-8"))
        assert report["rows"][name] == manifest["artifact"]["sha256"]
    assert [step for step, _ in report["training"]["curves"]["kl_nats"]] == [1, 2]
    assert 0 <= report["after"]["win_rate"] <= 1
    assert all(sample["prompt"].endswith(" is larger than") for sample in report["after"]["samples"])


def twins(count: int, seed: int) -> list[dict[str, Any]]:
    """Claims to compare, each pair twice: the true one is better. `one` begins the first of two."""
    rng, rows = Random(seed), []
    for low, high in (sorted(rng.sample(range(51, 100), 2)) for _ in range(count)):
        claims = [(number(first).capitalize(), number(second)) for first, second in ((high, low), (low, high))]
        true, false = (f"{first} is larger than {second}." for first, second in claims)
        rows += [{"one": claims[0][0], "a": true, "b": false, "gold": "True"}]
        rows += [{"one": claims[1][0], "a": false, "b": true, "gold": "False"}]
    return rows


PREFERENCES: dict[str, Any] = {
    "template": "{a}\nI think this claim is",
    "labels": ["True", "False"],
    "gold_field": "gold",
    "relations": [{"kind": "antisymmetric", "first": "a", "second": "b"}],
}


@dataclass
class Chain:
    """What is made on the way from preferences to a policy, by one worker of each kind."""

    service: Service
    application: Application

    async def done(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What was asked for, once workers have done it."""
        answer = await self.service.client.post(path, json=body)
        assert answer.status_code == 202, answer.text
        while await Worker(self.application, WorkerId("worker"), kinds=(WorkKind.LABEL, WorkKind.TRAIN)).work_once():
            pass
        found: dict[str, Any] = (await self.service.client.get(answer.json()["links"]["self"])).json()
        assert (found["status"], found["error"]) == ("succeeded", None)
        return found

    async def searched(self, seed: int) -> str:
        """The id of a job whose labels the search has found, nearly all of them right."""
        job = await self.done("/v1/jobs", {"config": {"task": PREFERENCES}, "examples": twins(32, seed)})
        report = await self.service.get(job["id"], "/report")
        assert report["accuracy"] > 0.9
        job_id: str = job["id"]
        return job_id

    async def reward_model(self, job_id: str, seed: int) -> str:
        """The id of a training that ranks held-out pairs as their labels do."""
        asked = {"job_ids": [job_id], "kind": "reward", "epochs": 8, "seed": seed, "rows": {"holdout": 0.2}}
        made = await self.done("/v1/trainings", {**asked, "force": True})
        report = (await report_of(self.service, made))["report"]
        assert report["training"]["epochs"][-1]["held_out"]["accuracy"] > 0.7
        training_id: str = made["id"]
        return training_id


@pytest.fixture
async def chain(service: Service) -> AsyncIterator[Chain]:
    application = build_application(service.settings, store=service.store)
    service.scorers = application.scorers
    yield Chain(service, application)
    await application.close()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_searched_preferences_lead_to_a_policy_that_a_server_answers_with(chain: Chain, tmp_path: Path) -> None:
    """From two jobs to two reward models, to a policy, its report, and completions by its adapter."""
    service = chain.service
    jobs = [await chain.searched(seed) for seed in (1, 2)]
    reward, judge = [await chain.reward_model(job_id, seed) for seed, job_id in enumerate(jobs)]
    policy = {"reward": reward, "judge": judge, "prompt": "{one} is larger than", "stop": "\n", "completion_tokens": 8}
    asked = {"kind": "policy", "job_ids": jobs[:1], "epochs": 4, "learning_rate": 0.003, "rows": {"holdout": 0.3}}
    made = await chain.done("/v1/trainings", {**asked, "policy": policy})
    lineage = {"jobs": jobs[:1], "reward": reward, "judge": judge, "reward_jobs": jobs[:1], "judge_jobs": jobs[1:]}
    report = await report_of(service, made)
    assert (made["lineage"], report["lineage"], made["base"]) == (lineage, lineage, "default")
    assert report["report"]["after"]["reward"]["gain"] > 0
    assert report["report"]["after"]["win_rate"] >= 0.5
    page = (await service.client.get(f"{made['links']['self']}/report?format=html")).text
    shown = (
        "win rate",
        "KL divergence from the base</b>",
        "<b>reward</b>",
        "<svg",
        "small_model",
        reward,
        judge,
        *jobs,
    )
    assert [told for told in shown if told not in page] == []
    await check_completions(service, made, tmp_path)


async def check_completions(service: Service, made: dict[str, Any], tmp_path: Path) -> None:
    """The embedded server loads the downloaded adapter while it runs, and continues prompts with it."""
    archive, folder = tmp_path / "policy.tar", tmp_path / "artifacts" / "policy"
    archive.write_bytes((await service.client.get(made["links"]["adapter"])).content)
    unpack(archive, folder, made["artifact"]["sha256"])
    [backend] = service.settings.backends
    prompts = [f"{number(value).capitalize()} is larger than" for value in range(60, 100, 4)]
    async with httpx.AsyncClient(base_url=str(backend.url), trust_env=False) as server:
        loaded = await server.post("/v1/load_lora_adapter", json={"lora_name": "policy", "lora_path": str(folder)})
        assert loaded.status_code == 200, loaded.text
        told = {}
        for model in ("policy", "small_model"):
            body = {"model": model, "prompt": prompts, "max_tokens": 8, "temperature": 0, "stop": ["\n"]}
            answer = await server.post("/v1/completions", json=body)
            assert answer.status_code == 200, answer.text
            told[model] = [choice["text"] for choice in answer.json()["choices"]]
    assert all(text.strip() for text in told["policy"])
    assert told["policy"] != told["small_model"]
