"""A finished training is a model of jobs and estimates: by its id, on a real embedded server, without a restart."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.adapters.registry import AdapterLimits, Adapters
from inference.app import create_app
from inference.engine import Engine
from inference.settings import Limits
from service.artifacts.adapter_folder import AdapterFolder
from service.bootstrap import Application, build_application
from service.identifiers import JobId, Row, WorkerId
from service.records.access import LOCAL_CALLER
from service.records.adapters import trained_adapter
from service.records.work import WorkKind, WorkStatus
from service.search.predictions.prompt_tree import PromptTree, Query
from service.settings import Settings
from tests.inference.lora import save_adapter
from tests.support.inference.served import served
from tests.support.inference.tiny import engine_of, llama
from tests.support.running.harness import CONFIG, Service, pairs
from tests.support.stores import ScratchStore
from workers.artifacts import ArtifactCleaning
from workers.worker import Worker

REPORT: dict[str, Any] = {
    "kind": "label",
    "training": {"tokens_per_second": 50.0, "peak_memory": {"bytes": 1000, "gpu_bytes": None}},
}
UNKNOWN = f"train_{0:032x}"


@dataclass
class Place:
    """The API, a worker and an embedded server over one folder of artifacts."""

    service: Service
    engine: Engine
    url: str
    folder: Path
    application: Application
    job_id: str = ""

    async def queued(self, **changes: Any) -> str:
        """A training of the one finished job, which no worker has claimed."""
        if not self.job_id:
            self.service.scorers = Service(self.service.store).scorers  # whose labels are learned is of no interest
            self.job_id = (await self.service.labelled(method="zero_shot"))["id"]
            self.service.scorers = self.application.scorers
        body = {"job_ids": [self.job_id], "force": True, "rows": {"holdout": 0.25}, **changes}
        answer = await self.service.client.post("/v1/trainings", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def trained(self, *, base: str | None = None, config: dict[str, Any] | None = None, **changes: Any) -> str:
        """A training that a worker has finished with random matrices."""
        training = await self.queued(**changes)
        async with self.service.store.worker_unit() as unit:
            work = await unit.work.claim((WorkKind.TRAIN,), WorkerId("trainer"), 60.0)
        assert work is not None
        sha = base or str(self.engine.language_model.sha)
        made = self.folder / "made" / training
        save_adapter(made, self.engine.language_model.module, seed=3, revision=sha, **(config or {}))
        artifact = await self.service.artifacts.put(work.lease.job_id, made)
        told = {"base": {"name": "tiny", "fingerprint": sha, "revision": None}, "settings": {"rank": 4}}
        async with self.service.store.worker_unit() as unit:
            await unit.trainings.finish(work.lease, artifact, manifest=told, report=REPORT)
            await unit.work.finish(work.lease, WorkStatus.SUCCEEDED, summary={})
        return training

    async def refusals(self, model: str, client: httpx.AsyncClient | None = None) -> set[tuple[str, str]]:
        """The faults that a job and an estimate tell of this model, as field and message."""
        body = {"config": {**CONFIG, "model": model}, "examples": pairs(8)}
        found = set()
        for path in ("/v1/jobs", "/v1/jobs/estimate"):
            answer = await (client or self.service.client).post(path, json=body)
            assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
            [fault] = answer.json()["errors"]
            found.add((fault["field"], fault["message"]))
        return found

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """What the embedded server itself answers."""
        return httpx.post(f"{self.url}{path}", json=body).raise_for_status()

    def loaded(self) -> list[str]:
        """The names of adapters that the embedded server has."""
        return [adapter["id"] for adapter in httpx.get(f"{self.url}/info").json()["adapters"]]


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = engine_of(llama())
    made.language_model.sha = "a" * 64
    return made


@pytest.fixture
def server(engine: Engine, tmp_path: Path) -> Iterator[str]:
    adapters = Adapters(engine.language_model, AdapterLimits(tmp_path / "artifacts", max_rank=8, max_adapters=2))
    with served(create_app(engine, Limits(), adapters=adapters)) as url:
        yield url


@pytest.fixture
async def place(engine: Engine, server: str, tmp_path: Path) -> AsyncIterator[Place]:
    store = ScratchStore()
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path,
            "training": {"bases": {"default": "a-model"}},
            "backends": [{"name": "default", "kind": "embedded", "url": server}],
        }
    )
    service, application = Service(store, settings=settings), build_application(settings, store=store)
    async with service.client:
        yield Place(service, engine, server, tmp_path, application)
    await application.scorers.close()
    await store.close()


async def test_a_finished_training_labels_a_job_with_nothing_restarted(place: Place) -> None:
    training = await place.trained()
    job = await place.service.post(model=training, method="zero_shot")
    assert await Worker(place.application, WorkerId("worker"), kinds=(WorkKind.LABEL,)).work_once()
    ended = await place.service.get(job["id"])
    assert (ended["status"], ended["config"]["model"], ended["error"]) == ("succeeded", training, None)
    [name] = place.loaded()
    asked = {
        "nodes": [{"parent": None, "text": "Is 0 larger than 1? It is"}],
        "queries": [{"node": 0, "text": ""}],
        "labels": CONFIG["task"]["labels"],
        "separator": "\n\n",
        "adapter": name,
    }
    [[yes, no]] = place.post("/v1/score_tree", asked).json()["log_probabilities"]
    [row] = [row for row in (await place.service.get(job["id"], "/labels"))["data"] if row["id"] == "row-0"]
    assert row["icm_label"] == ("Yes" if yes > no else "No")
    assert row["icm_margin"] == pytest.approx(abs(yes - no), abs=1e-3)
    body = {"config": {**CONFIG, "model": training}, "examples": pairs(8)}
    estimated = await place.service.client.post("/v1/jobs/estimate", json=body)
    assert (estimated.status_code, estimated.json()["rows"]) == (200, 8)


async def test_a_training_that_is_not_there_is_a_fault_of_the_model(place: Place) -> None:
    training = await place.trained()
    told = "there is no training {!r}; it was deleted, or the project never had it"
    assert await place.refusals(UNKNOWN) == {("model", told.format(UNKNOWN))}
    async with await place.service.member("others") as others:
        assert await place.refusals(training, others) == {("model", told.format(training))}
    assert (await place.service.client.delete(f"/v1/trainings/{training}")).status_code == 204
    assert await place.refusals(training) == {("model", told.format(training))}


async def test_a_training_that_has_not_succeeded_is_a_fault_of_the_model(place: Place) -> None:
    training = await place.queued()
    told = f"the training {training} is queued; it can be used once it has succeeded"
    assert await place.refusals(training) == {("model", told)}
    await place.service.client.post(f"/v1/trainings/{training}/cancel")
    assert await place.refusals(training) == {
        ("model", f"the training {training} is cancelled; name one that has succeeded")
    }


async def test_a_training_of_another_kind_is_a_fault_of_the_model(place: Place) -> None:
    pairs_of_half: dict[str, Any] = {"kind": "reward", "rows": {"statuses": ["labeled", "uncertain"], "holdout": 0.5}}
    for changes, why in (
        (pairs_of_half, "is of kind reward, which scores texts; name one of kind label"),
        ({"method": "full"}, "has trained a whole language model, and servers load only adapters"),
    ):
        training = await place.trained(**changes)
        [(field, told)] = await place.refusals(training)
        assert (field, why in told) == ("model", True), told


async def test_an_adapter_that_the_server_cannot_serve_is_a_fault_of_the_model(place: Place) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"base": "0" * 64}, f"it was trained on tiny ({'0' * 64}), and the backend 'default' now serves tiny ("),
        ({"config": {"r": 16}}, "the server says: its rank is 16; this server takes 8 (--max-adapter-rank)"),
        ({"config": {"use_dora": True}}, "the server says: adapter_config.json: use_dora is set"),
    ]
    for trained, why in cases:
        training = await place.trained(**trained)
        [(field, told)] = await place.refusals(training)
        assert (field, told.startswith(f"the training {training} cannot be served: {why}")) == ("model", True), told
        assert place.loaded() == []


async def test_a_job_goes_on_where_the_server_has_made_room_for_others(place: Place) -> None:
    training = await place.trained()
    job = await place.service.post(model=training, method="zero_shot")
    [name] = place.loaded()
    for seed in (5, 6):
        save_adapter(place.folder / "artifacts" / f"other-{seed}", place.engine.language_model.module, seed=seed)
        place.post("/v1/load_lora_adapter", {"lora_name": f"other-{seed}", "lora_path": f"other-{seed}"})
    assert name not in place.loaded()
    assert await Worker(place.application, WorkerId("worker"), kinds=(WorkKind.LABEL,)).work_once()
    assert (await place.service.get(job["id"]))["status"] == "succeeded"
    assert name in place.loaded()


async def test_a_server_that_loses_the_adapter_while_it_scores_gets_it_again(place: Place) -> None:
    training = await place.trained()
    await place.service.post(model=training, method="zero_shot")
    async with place.service.store.worker_unit() as unit:
        work = await unit.work.claim((WorkKind.LABEL,), WorkerId("worker"), 60.0)
        assert work is not None
        adapter = (await unit.shards.of(work)).adapter
    assert adapter is not None
    assert adapter.training_id == training
    scorer = place.application.scorers.adapted(adapter)
    tree = PromptTree("", (Query(Row(0), "Is 0 larger than 1? It is"),))
    before = await scorer.score(tree, ("Yes", "No"))
    place.post("/v1/unload_lora_adapter", {"lora_name": adapter.sha256})
    assert (await scorer.score(tree, ("Yes", "No"))).log_probabilities[Row(0)] == pytest.approx(
        before.log_probabilities[Row(0)], abs=1e-5
    )
    assert place.loaded() == [adapter.sha256]


async def test_a_job_whose_training_was_deleted_meanwhile_fails_with_the_reason(place: Place) -> None:
    training = await place.trained()
    job = await place.service.post(model=training, method="zero_shot")
    await place.service.client.delete(f"/v1/trainings/{training}")
    assert await Worker(place.application, WorkerId("worker"), kinds=(WorkKind.LABEL,)).work_once()
    ended = await place.service.get(job["id"])
    assert ended["status"] == "failed"
    assert f"the training {training}, whose adapter is the job's model, was deleted" in ended["error"]["message"]


async def test_a_strategy_that_trains_starts_from_a_base_and_no_adapter(place: Place) -> None:
    training = await place.trained()
    body = {"config": {**CONFIG, "model": training, "search": {"strategy": "scalable"}}, "examples": pairs(8)}
    answer = await place.service.client.post("/v1/jobs", json=body)
    faults = {fault["field"]: fault["message"] for fault in answer.json()["errors"]}
    assert f"the adapter of {training}: name its base as the model" in faults["search.strategy"]


async def test_copies_of_a_deleted_training_go_with_its_files(place: Place) -> None:
    training = await place.trained()
    places = {"artifacts": (place.folder / "artifacts").as_uri(), "adapters": str(place.folder / "adapters")}
    settings = Settings.model_validate({"data_dir": place.folder, "training": places})
    application = build_application(settings, store=place.service.store)
    async with place.service.store.project_unit(LOCAL_CALLER) as unit:
        found = await unit.trainings.report(JobId(training))
    assert found.training.artifact is not None
    adapter = trained_adapter(JobId(training), "default", found.training.artifact.sha256, found.manifest)
    copy = settings.adapters_folder / await AdapterFolder(application.artifacts, settings.adapters_folder).place(
        adapter
    )
    cleaning = ArtifactCleaning(
        place.service.store, application.artifacts, settings.training_folder, application.copied_adapters
    )
    for _ in range(3):
        await cleaning.run_once()
    assert copy.is_dir()
    await place.service.client.delete(f"/v1/trainings/{training}")
    for _ in range(2):
        await cleaning.run_once()
    assert not copy.exists()


async def test_a_training_on_labels_of_an_adapter_needs_a_base(place: Place) -> None:
    training = await place.trained()
    job = await place.service.post(model=training, method="zero_shot")
    await Worker(place.application, WorkerId("worker"), kinds=(WorkKind.LABEL,)).work_once()
    rows = {"statuses": ["labeled", "uncertain"], "holdout": 0.5}
    body = {"job_ids": [job["id"]], "force": True, "rows": rows}
    refused = await place.service.client.post("/v1/trainings", json=body)
    [fault] = refused.json()["errors"]
    assert fault["field"] == "base"
    assert fault["message"].startswith(f"{training} is an adapter, and a training starts from a language model without")
    estimated = await place.service.client.post("/v1/trainings/estimate", json={**body, "base": "default"})
    assert (estimated.status_code, estimated.json().get("base")) == (200, "default"), estimated.text
