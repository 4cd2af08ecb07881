"""Real worker processes that train are killed without warning, on one machine or on several."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from inference.settings import SMALL_MODEL
from service.artifacts.file_systems import content_sha256
from service.identifiers import JobId
from service.records.access import LOCAL_CALLER
from service.records.jobs import Event
from service.records.trainings import Artifact, Training
from tests.acceptance.served import is_alive
from tests.support.running.harness import CONFIG, pairs
from tests.support.running.processes import (
    Laboratory,
    Workers,
    assert_no_item_was_written_by_two,
    gone,
    kill,
    laboratory,
    until,
    worker_processes,
)

SHORT = 1.0  # a lease that is soon over once its worker is dead, in seconds
KILLS = 5  # for each seed
SEEDS = (0, 1, 2, 3)
PRETENDED = "tell 0.5\ncheckpoint 1\nleft\nonce wait\nmake whole"  # waits once on each machine
WHOLE = Artifact(content_sha256({"weights": sha256(b"whole").hexdigest()}), len(b"whole"))  # what it leaves
REQUEST: dict[str, Any] = {"force": True, "rows": {"statuses": ["labeled", "uncertain"], "holdout": 0.25}}


@dataclass
class Place:
    """A service that trains, its workers on machines that share nothing but the database and the files stored."""

    lab: Laboratory
    workers: Workers
    folder: Path

    async def asked(self, job: JobId, **changes: Any) -> JobId:
        """A training of a job's rows."""
        body = {"job_ids": [job], **REQUEST, **changes}
        answer = await self.lab.client.post("/v1/trainings", json=body)
        assert answer.status_code == 202, answer.text
        return JobId(answer.json()["id"])

    def start(self, machine: str) -> int:
        """A worker; its process id."""
        return self.workers.start(ICM_DATA_DIR=str(self.folder / machine))

    async def training(self, training_id: JobId) -> Training:
        """The training as it is now."""
        async with self.lab.application.store.project_unit(LOCAL_CALLER) as unit:
            return await unit.trainings.get(training_id)

    async def has_ended(self, training_id: JobId, until: float = inf) -> bool:
        """Whether nothing more will happen to it; true as well behind a moment of the monotonic clock."""
        return time.monotonic() >= until or (await self.training(training_id)).status.is_final

    async def has_told(self, training_id: JobId, evaluations: int) -> bool:
        """Whether its processes have told of so many evaluations."""
        return len(await self.lab.events(training_id, "training.evaluation")) >= evaluations

    async def has_stepped(self, training_id: JobId, times: int) -> bool:
        """Whether its processes have reported this many steps; also true once the training has ended."""
        told = await self.lab.events(training_id, "training.progress")
        return len(told) >= times or await self.has_ended(training_id)

    async def is_paused_and_quiet(self, training_id: JobId) -> bool:
        """Whether it is paused and no process trains it."""
        return (await self.training(training_id)).status == "paused" and processes_of(training_id) == []

    async def control(self, training_id: JobId, what: str) -> None:
        """Pause, resume or cancel it."""
        answer = await self.lab.client.post(f"/v1/trainings/{training_id}/{what}")
        assert answer.status_code == 202, answer.text

    async def undisturbed(self, training_id: JobId) -> tuple[Artifact, float]:
        """What was trained once one worker has done it from beginning to end, and the seconds that took."""
        began = time.monotonic()
        worker = self.start("undisturbed")
        await until(partial(self.has_ended, training_id))
        took = time.monotonic() - began
        kill(worker)
        await gone(worker)
        artifact = (await self.training(training_id)).artifact
        assert artifact is not None
        return artifact, took

    async def killed(self, machine: str, training_id: JobId, moment: Callable[[], Awaitable[bool]]) -> bool:
        """Start a worker and kill it at that moment; whether the training was under way. Nothing of it runs on."""
        worker = self.start(machine)
        await until(moment)
        under_way = not await self.has_ended(training_id)
        kill(worker)
        await gone(worker)

        async def nothing_is_left() -> bool:
            return processes_of(training_id) == []

        await until(nothing_is_left)
        return under_way


def processes_of(training_id: JobId) -> list[psutil.Process]:
    """Those that train it, whosoever children they are."""
    found = [process for process in psutil.process_iter(["cmdline"]) if is_alive(process)]
    return [process for process in found if training_id in " ".join(process.info["cmdline"] or ())]


@asynccontextmanager
async def training_place(
    database_url: str, folder: Path, base: str, module: str = "workers.__main__"
) -> AsyncIterator[Place]:
    training = {"bases": {"default": base}, "artifacts": str(folder / "artifacts"), "device": "cpu"}
    settings = {
        "ICM_TRAINING__BASES": json.dumps(training["bases"]),
        "ICM_TRAINING__ARTIFACTS": str(training["artifacts"]),
        "ICM_TRAINING__DEVICE": "cpu",
    }
    async with laboratory(database_url, data_dir=folder / "api", training=training) as lab:
        with worker_processes(database_url, lease_seconds=SHORT, module=module, settings=settings) as workers:
            yield Place(lab, workers, folder)


async def labelled(place: Place, count: int) -> JobId:
    """A job that has succeeded."""
    job_id = await place.lab.submit(pairs(count), CONFIG)
    worker = place.start("labeller")
    await place.lab.ended(job_id)
    kill(worker)
    await gone(worker)
    return job_id


async def assert_it_was_trained_once(place: Place, training_id: JobId, expected: Artifact) -> None:
    training = await place.training(training_id)
    assert (training.status, training.error) == ("succeeded", None)
    assert training.artifact == expected
    async with place.lab.application.store.project_unit(LOCAL_CALLER) as unit:
        log = await unit.events.after(training_id, 0, limit=10_000)
    assert_no_item_was_written_by_two(log, "training")
    assert_every_turn_tells_in_order(log)
    kept = (await place.lab.application.artifacts.stored())[training_id]
    assert expected.sha256 in kept
    assert len(kept) == 2, "the rows and one artifact"


def assert_every_turn_tells_in_order(log: list[Event]) -> None:
    """From its creation to its end, with the steps of each turn's stages rising."""
    assert [event.sequence for event in log] == sorted({event.sequence for event in log})
    happened = [event.type for event in log]
    assert (happened[:3], happened[-2:]) == (
        ["job.created", "job.running", "training.started"],
        ["training.finished", "job.succeeded"],
    )
    steps: dict[str, int] = {}
    for event in log:
        if event.type == "training.started":
            steps = {}
        elif event.type == "training.progress" and "step" in event.data:
            stage, step = event.data["stage"], event.data["step"]
            assert step > steps.get(stage, 0)
            steps[stage] = step


async def test_a_training_whose_workers_are_killed_ends_once_and_leaves_nothing_running(
    database_url: str, tmp_path: Path
) -> None:
    module = "tests.integration.pretending_worker"
    async with training_place(database_url, tmp_path, PRETENDED, module) as place:
        job = await labelled(place, 8)
        training_id = await place.asked(job)
        for number, machine in enumerate(("one", "two"), 1):
            assert await place.killed(machine, training_id, partial(place.has_told, training_id, number))
        assert not await place.killed("one", training_id, partial(place.has_ended, training_id))
        await assert_it_was_trained_once(place, training_id, WHOLE)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_workers_killed_at_random_moments_change_no_byte_of_an_adapter(
    database_url: str, tmp_path: Path, seed: int
) -> None:
    rng, kills = Random(seed), 0
    async with training_place(database_url, tmp_path, str(SMALL_MODEL)) as place:
        job = await labelled(place, 128)
        settings: Mapping[str, Any] = {"epochs": 6, "rank": 4}
        expected, seconds = await place.undisturbed(await place.asked(job, **settings))
        while kills < KILLS:
            training_id = await place.asked(job, **settings)
            while not await place.has_ended(training_id):
                patience = rng.uniform(0, seconds) if kills < KILLS else inf
                moment = partial(place.has_ended, training_id, until=time.monotonic() + patience)
                kills += await place.killed(rng.choice(["one", "two"]), training_id, moment)
            await assert_it_was_trained_once(place, training_id, expected)


async def reward_model(place: Place, job: JobId, **changes: Any) -> JobId:
    """A finished reward model of a job's pairs."""
    training_id = await place.asked(job, kind="reward", **changes)
    await place.undisturbed(training_id)
    return training_id


async def asked_of(place: Place, job: JobId, kind: str) -> Callable[[], Awaitable[JobId]]:
    """Asks for the same training again and again: a reward model, or a policy against one."""
    if kind == "reward":
        return partial(place.asked, job, kind=kind, epochs=12)
    models = {"reward": await reward_model(place, job), "judge": await reward_model(place, job, seed=1)}
    policy = {**models, "prompt": "{a} is", "completions": 2, "completion_tokens": 4}
    return partial(place.asked, job, kind=kind, policy=policy, rows={"holdout": 0.25}, epochs=3)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["reward", "policy"])
async def test_a_reward_model_or_policy_paused_and_killed_on_its_way_has_the_same_bytes(
    database_url: str, tmp_path: Path, kind: str
) -> None:
    async with training_place(database_url, tmp_path, str(SMALL_MODEL)) as place:
        again = await asked_of(place, await labelled(place, 64), kind)
        expected, _ = await place.undisturbed(await again())
        training_id = await again()
        first = place.start("one")
        await until(partial(place.has_stepped, training_id, 2))
        await place.control(training_id, "pause")
        await until(partial(place.is_paused_and_quiet, training_id))
        kill(first)
        await gone(first)
        await place.control(training_id, "resume")
        turn = len(await place.lab.events(training_id, "training.progress"))
        assert await place.killed("two", training_id, partial(place.has_stepped, training_id, turn + 1))
        assert not await place.killed("one", training_id, partial(place.has_ended, training_id))
        await assert_it_was_trained_once(place, training_id, expected)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["reward", "policy"])
async def test_a_cancelled_reward_model_or_policy_leaves_no_process_and_no_artifact(
    database_url: str, tmp_path: Path, kind: str
) -> None:
    async with training_place(database_url, tmp_path, str(SMALL_MODEL)) as place:
        training_id = await (await asked_of(place, await labelled(place, 64), kind))()
        place.start("one")
        await until(partial(place.has_stepped, training_id, 1))
        await place.control(training_id, "cancel")
        await until(partial(place.has_ended, training_id))
        training = await place.training(training_id)
        assert (training.status, training.artifact) == ("cancelled", None)

        async def nothing_runs() -> bool:
            return processes_of(training_id) == []

        await until(nothing_runs)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_worker_killed_while_a_reward_model_labels_changes_no_byte_of_the_result(
    database_url: str, tmp_path: Path
) -> None:
    async with training_place(database_url, tmp_path, str(SMALL_MODEL)) as place:
        reward = await reward_model(place, await labelled(place, 64))
        config = {**CONFIG, "method": "reward_model", "reward": reward, "search": {"shard_rows": 200}}
        results = []
        for kills in (0, 3):
            job_id = await place.lab.submit(pairs(600), config)
            for _ in range(kills):
                worker, saved = place.start("one"), len(await place.lab.events(job_id, "job.progress"))
                await place.lab.under_way(job_id, saves=saved + 1)
                assert not (await place.lab.job(job_id)).status.is_final
                kill(worker)
                await gone(worker)
            worker = place.start("two")
            assert (await place.lab.ended(job_id)).status == "succeeded"
            kill(worker)
            await gone(worker)
            results.append(
                (await place.lab.client.get(f"/v1/jobs/{job_id}/result", params={"format": "jsonl"})).content
            )
            assert_no_item_was_written_by_two(await place.lab.events(job_id))
        assert results[0] == results[1]
        assert results[0].count(b'"icm_label":"') > 500
