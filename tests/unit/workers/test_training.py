"""A worker trains: it supervises the process, stores the result, and continues where another one stopped."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.artifacts.file_systems import FileSystemArtifacts
from service.bootstrap import Application, build_application
from service.errors import LeaseLost
from service.identifiers import JobId, WorkerId, new_training_id
from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from service.records.jobs import Event
from service.records.scoring import BackendIdentity
from service.records.trainings import Artifact, NewTraining, Training
from service.records.work import WorkKind
from service.settings import QueueSettings, Settings
from tests.support.stored import queued
from tests.support.stores import ScratchStore
from workers import handlers
from workers.artifacts import ArtifactCleaning
from workers.training import TrainHandler
from workers.worker import Worker

PROGRAM = (sys.executable, "-S", str(Path(__file__).parents[1] / "training_process" / "pretender.py"))


@pytest.fixture
async def store() -> AsyncIterator[ScratchStore]:
    store = ScratchStore(max_crashes=2)
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def _pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = partial(TrainHandler, program=PROGRAM)
    monkeypatch.setattr(handlers, "HANDLERS", {WorkKind.TRAIN: handler})
    monkeypatch.setattr("workers.worker.HANDLERS", {WorkKind.TRAIN: handler})


@pytest.fixture
def heard_soon() -> Iterator[pytest.MonkeyPatch]:
    """Let workers learn soon of people's requests, until the test ends or undoes this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.heartbeat.RENEWALS_PER_LEASE", 100)
        yield patch


class Place:
    """A store in which trainings are requested, and workers that share only the database and the artifacts."""

    def __init__(self, store: Store, folder: Path, *steps: str) -> None:
        self.store = store
        self.folder = folder
        self._bases = {"pretended": "\n".join(steps)}
        self._queue = QueueSettings(lease_seconds=20.0, poll_seconds=0.01)
        self.artifacts = FileSystemArtifacts(str(folder / "artifacts"))

    def application(self, machine: str = "one") -> Application:
        training = {"bases": self._bases, "artifacts": str(self.folder / "artifacts")}
        settings = Settings.model_validate(
            {"data_dir": self.folder / machine, "queue": self._queue, "training": training}
        )
        return build_application(settings, store=self.store)

    def worker(self, machine: str = "one") -> Worker:
        return Worker(self.application(machine), WorkerId(machine), kinds=(WorkKind.TRAIN,))

    async def asked(self, *job_ids: JobId, **models: JobId) -> JobId:
        """A training of two rows, of these jobs and against these models."""
        training_id = new_training_id()
        rows = self.folder / "asked"
        rows.mkdir(exist_ok=True)
        (rows / "examples.jsonl").write_text('{"prompt": "a", "label": "b"}\n' * 2)
        spec = {"kind": "label", "labels": ["b", "c"], "epochs": 2}
        examples = await self.artifacts.put(training_id, rows)
        new = NewTraining(
            id=training_id,
            config={"job_ids": job_ids},
            base="pretended",
            spec=spec,
            rows=2,
            examples=examples,
            models=models,
        )
        async with self.store.project_unit(LOCAL_CALLER) as unit:
            await unit.trainings.add(new)
        return training_id

    async def training(self, training_id: JobId) -> Training:
        async with self.store.project_unit(LOCAL_CALLER) as unit:
            return await unit.trainings.get(training_id)

    async def events(self, training_id: JobId, kind: str) -> list[Event]:
        async with self.store.project_unit(LOCAL_CALLER) as unit:
            found = await unit.events.after(training_id, 0, limit=100)
        return [event for event in found if event.type == kind]

    async def heard(self, training_id: JobId, kind: str) -> dict[str, Any]:
        """The first event of a kind, once it has been written."""
        with self.store.follow_events(training_id) as subscription:
            while not (found := await self.events(training_id, kind)):
                await subscription.wait(5.0)
        return dict(found[0].data)

    async def control(self, training_id: JobId, what: str) -> None:
        async with self.store.project_unit(LOCAL_CALLER) as unit:
            await getattr(unit.trainings, what)(training_id)


async def take_over(store: Store) -> None:
    """As if the lease had run out and another worker had come."""
    async with store.worker_unit() as unit:
        connection = unit.trainings._connection  # type: ignore[attr-defined]  # of the Postgres kind
        await connection.exec_driver_sql("UPDATE work_items SET epoch = epoch + 1, worker_id = 'two'")


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_the_artifact_is_stored_with_its_name(store: Store, tmp_path: Path) -> None:
    place = Place(store, tmp_path, "left", "tell 0.5", "checkpoint 1", "make weights")
    training_id = await place.asked()
    assert await place.worker().work_once()
    training = await place.training(training_id)
    assert training.status == "succeeded"
    assert training.artifact is not None
    parts = [part async for part in place.artifacts.read(training_id, training.artifact.sha256, "weights")]
    assert b"".join(parts) == b"weights"
    assert training.progress["loss"] == 0.5
    assert [event.data for event in await place.events(training_id, "training.evaluation")] == [
        {"found": [], "rows": 2}
    ]
    [finished] = await place.events(training_id, "training.finished")
    assert finished.data["summary"] == {"steps": 2, "tokens": 20, "seconds": 0.5, "sha256": training.artifact.sha256}
    assert not (tmp_path / "one" / "trainings" / training_id).exists()


async def test_the_process_gets_the_specification(store: Store, tmp_path: Path) -> None:
    place = Place(store, tmp_path, "polite", "left", "wait")
    training_id, worker = await place.asked(), place.worker()
    running = asyncio.create_task(worker.work_once())
    await place.heard(training_id, "training.evaluation")
    spec = tmp_path / "one" / "trainings" / training_id / "SPEC.json"
    told = json.loads(spec.read_text("utf-8"))
    worker.stop()
    await running
    assert told == {
        "kind": "label",
        "labels": ["b", "c"],
        "epochs": 2,
        "base": "polite\nleft\nwait",
        "device": "auto",
        "examples": "examples.jsonl",
    }


async def test_reward_models_lie_beside_the_specification_as_their_own_process_left_them(
    store: Store, tmp_path: Path
) -> None:
    maker = Place(store, tmp_path, "make weights")
    models = {field: await maker.asked() for field in ("reward", "judge")}
    for _ in models:
        await maker.worker().work_once()
    place = Place(store, tmp_path, "polite", "note half", "left", "wait")
    training_id, worker = await place.asked(**models), place.worker()
    running = asyncio.create_task(worker.work_once())
    await place.heard(training_id, "training.evaluation")
    folder = tmp_path / "one" / "trainings" / training_id
    for model in models.values():
        manifest = json.loads((folder / model / "manifest.json").read_text("utf-8"))
        assert manifest["artifact"]["sha256"] == getattr((await place.training(model)).artifact, "sha256", None)
        assert (folder / model / "adapter" / "weights").read_text() == "weights"
    worker.stop()
    await running
    hashes = (await place.artifacts.stored())[training_id]
    files = [file.name for sha256 in hashes for file in await place.artifacts.files(training_id, sha256)]
    assert sorted(files) == ["examples.jsonl", "half"], "a worker elsewhere fetches the models again"


async def test_a_reward_model_that_is_not_where_it_was_stored_ends_the_training(store: Store, tmp_path: Path) -> None:
    maker = Place(store, tmp_path, "make weights")
    model = await maker.asked()
    await maker.worker().work_once()
    await maker.artifacts.remove(model)
    training_id = await Place(store, tmp_path, "make policy").asked(reward=model)
    await maker.worker().work_once()
    training = await maker.training(training_id)
    assert training.status == "failed"
    assert training.error is not None
    assert training.error["code"] == "TrainingFailed"
    assert f"the training {model} cannot be used" in training.error["message"]
    assert training.error["message"].endswith("train it again")


@pytest.mark.usefixtures("heard_soon")
@pytest.mark.parametrize("what", ["pause", "request_cancel"])
async def test_a_person_who_pauses_or_cancels_ends_the_process(store: Store, tmp_path: Path, what: str) -> None:
    place = Place(store, tmp_path, "polite", "tell 0.5", "left", "wait")
    training_id = await place.asked()
    running = asyncio.create_task(place.worker().work_once())
    await place.heard(training_id, "training.evaluation")
    await place.control(training_id, what)
    await running
    training = await place.training(training_id)
    assert training.status == ("paused" if what == "pause" else "cancelled")
    assert not await place.worker().work_once()


async def test_a_paused_training_resumes_on_another_machine_from_its_checkpoint(
    store: Store, tmp_path: Path, heard_soon: pytest.MonkeyPatch
) -> None:
    place = Place(store, tmp_path, "polite", "note half", "left", "once wait", "make whole")
    training_id = await place.asked()
    running = asyncio.create_task(place.worker("one").work_once())
    await place.heard(training_id, "training.evaluation")
    await place.control(training_id, "pause")
    await running
    heard_soon.undo()
    await place.control(training_id, "resume")
    assert await place.worker("two").work_once()
    assert (await place.training(training_id)).status == "succeeded"
    found = [event.data["found"] for event in await place.events(training_id, "training.evaluation")]
    assert found == [["half"], ["half", "once"]]


async def test_a_stopped_worker_releases_its_training(store: Store, tmp_path: Path) -> None:
    place = Place(store, tmp_path, "polite", "left", "once wait", "make whole")
    training_id, worker = await place.asked(), place.worker()
    running = asyncio.create_task(worker.work_once())
    await place.heard(training_id, "training.evaluation")
    worker.stop()
    await running
    assert (await place.training(training_id)).status == "running"
    assert await place.worker().work_once()
    assert (await place.training(training_id)).status == "succeeded"
    assert await place.events(training_id, "training.released")


async def test_a_base_that_did_not_label_the_jobs_is_warned_of_once(store: Store, tmp_path: Path) -> None:
    async with store.project_unit(LOCAL_CALLER) as unit:
        backends = [
            await unit.backends.recognized(BackendIdentity(f"embedded|pretended|{letter * 64}|0.1")) for letter in "ab"
        ]
    same, other = [await queued(store, backend=backend) for backend in backends]
    place = Place(store, tmp_path, f"base {'a' * 64}", f"base {'a' * 64}", "make whole")
    training_id = await place.asked(same, other)
    assert await place.worker().work_once()
    [warning] = (await place.training(training_id)).warnings
    assert other in warning
    assert same not in warning
    assert "'pretended', bbbbbbbbbbbb" in warning


async def test_the_reason_of_a_refusal_is_the_trainings_error(store: Store, tmp_path: Path) -> None:
    place = Place(store, tmp_path, "fail 2")
    training_id = await place.asked()
    await place.worker().work_once()
    training = await place.training(training_id)
    assert training.status == "failed"
    assert training.error == {"code": "TrainingFailed", "message": "rank: must be greater"}
    assert not (tmp_path / "one" / "trainings" / training_id).exists()


async def test_a_reason_contains_no_path_of_the_machine(store: Store, tmp_path: Path) -> None:
    place = Place(store, tmp_path, "refuse")
    training_id = await place.asked()
    await place.worker().work_once()
    error = (await place.training(training_id)).error
    assert error is not None
    assert error["message"] == "the training's folder/out: pretended cannot be read"


async def test_a_base_that_the_worker_does_not_have_is_named(store: Store, tmp_path: Path) -> None:
    place = Place(store, tmp_path)
    place._bases = {}
    training_id = await place.asked()
    await place.worker().work_once()
    error = (await place.training(training_id)).error
    assert error is not None
    assert "no language model 'pretended' in ICM_TRAINING__BASES" in error["message"]


async def test_a_process_that_dies_is_restarted_from_its_checkpoint(store: Store, tmp_path: Path) -> None:
    place = Place(store, tmp_path, "left", "once die 9", "make whole")
    training_id = await place.asked()
    worker = asyncio.create_task(place.worker().run())
    with store.follow_events(training_id) as subscription:
        while (await place.training(training_id)).status != "succeeded":
            await subscription.wait(5.0)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    found = [event.data["found"] for event in await place.events(training_id, "training.evaluation")]
    assert found == [[], ["once"]]


async def test_a_process_that_dies_again_and_again_fails_the_training(store: Store, tmp_path: Path) -> None:
    place = Place(store, tmp_path, "die 9")
    training_id = await place.asked()
    worker = asyncio.create_task(place.worker().run())
    with store.follow_events(training_id) as subscription:
        while not (await place.training(training_id)).status.is_final:
            await subscription.wait(5.0)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    error = (await place.training(training_id)).error
    assert error is not None
    assert error["code"] == "worker_crashed"
    crashes = await place.events(training_id, "training.crashed")
    assert {event.data["reason"] for event in crashes} == {"the training was ended by SIGKILL"}


@pytest.mark.usefixtures("heard_soon")
async def test_a_worker_that_lost_its_lease_ends_the_process_and_writes_nothing(store: Store, tmp_path: Path) -> None:
    place = Place(store, tmp_path, "deaf", "left", "wait")
    training_id = await place.asked()
    loser = asyncio.create_task(place.worker("one").work_once())
    await place.heard(training_id, "training.evaluation")
    [child] = [process for process in psutil.Process().children() if str(training_id) in " ".join(process.cmdline())]
    await take_over(store)
    assert isinstance((await asyncio.gather(loser, return_exceptions=True))[0], Exception)
    assert not is_running(child.pid)
    assert (await place.training(training_id)).artifact is None


async def test_a_worker_that_lost_its_lease_while_it_stored_the_artifact_names_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(store, tmp_path, "make whole")
    training_id, application = await place.asked(), place.application()
    put = application.artifacts.put

    async def late(owner: JobId, folder: Path) -> Artifact:
        artifact = await put(owner, folder)
        await take_over(store)
        return artifact

    monkeypatch.setattr(application.artifacts, "put", late)
    with pytest.raises(LeaseLost):
        await Worker(application, WorkerId("one"), kinds=(WorkKind.TRAIN,)).work_once()
    training = await place.training(training_id)
    assert (training.status, training.artifact) == ("running", None)
    assert await place.events(training_id, "training.finished") == []


async def test_a_training_waits_while_the_artifact_store_is_unreachable(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.training.RETRY_SECONDS", 0.01)
    place = Place(store, tmp_path, "make whole")
    training_id = await place.asked()
    (tmp_path / "artifacts").rename(tmp_path / "away")
    (tmp_path / "artifacts").touch()
    running = asyncio.create_task(place.worker().work_once())
    await place.heard(training_id, "training.started")
    (tmp_path / "artifacts").unlink()
    (tmp_path / "away").rename(tmp_path / "artifacts")
    assert await running
    assert (await place.training(training_id)).status == "succeeded"


async def test_folders_of_trainings_that_have_ended_are_removed(store: Store, tmp_path: Path) -> None:
    place = Place(store, tmp_path, "make whole")
    ended = await place.asked()
    await place.worker().work_once()
    waiting = await place.asked()
    folders = tmp_path / "one" / "trainings"
    for name in (ended, waiting, "train_unknown"):
        (folders / name).mkdir(parents=True)
    await ArtifactCleaning(store, place.artifacts, folders).run_once()
    assert [path.name for path in folders.iterdir()] == [waiting]
