"""Workers run the trainings that a search requests, each once however often they are interrupted."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from service.access.caller_store import CallerStore
from service.bootstrap import Application, build_application
from service.config import Limits
from service.errors import LeaseLost, TrainingFailed
from service.identifiers import JobId, Label, Row, WorkerId
from service.jobs.reporting.report import report
from service.jobs.submission.submit import submit
from service.records.access import LOCAL_CALLER
from service.records.jobs import ClaimedShard, JobStatus
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers
from service.search.predictions.training import TrainAndScore
from service.settings import MemorySettings, QueueSettings, Settings
from tests.support.memory import MemoryStore
from tests.support.sources import PretendTrainer, config, source
from tests.support.stored import BOB, LONG, claimed, job, release
from tests.support.stores import Clock
from workers.worker import Worker

ROWS = 24
SCALABLE: dict[str, Any] = {"strategy": "scalable", "anchor_rows": 12, "folds": 3}
ITERATIVE: dict[str, Any] = {"strategy": "iterative", "batch_rows": 8}


class Place:
    """A worker that can train, and its store."""

    def __init__(self, **memory: Any) -> None:
        self.clock = Clock()
        self.store = MemoryStore(max_crashes=3, now=self.clock.now)
        self.trainer = PretendTrainer()
        self.scorers = ConfiguredScorers({"default": DeterministicScorer()}, {"default": self.trainer})
        queue = QueueSettings(checkpoint_seconds=0.0)
        wired = build_application(Settings(queue=queue, memory=MemorySettings(**memory)), store=self.store)
        self.application = Application(wired.settings, self.store, self.scorers)

    @property
    def projects(self) -> CallerStore:
        return CallerStore(self.store, LOCAL_CALLER)

    def worker(self) -> Worker:
        return Worker(self.application, WorkerId("worker"))

    async def submitted(self, search: dict[str, Any], **more: Any) -> JobId:
        rows = source(*({"q": f"row {number}"} for number in range(ROWS)))
        chosen = replace(config(search=search), **more)
        receipt = await submit(chosen, rows, self.projects, self.scorers, idempotency_key=None)
        return receipt.job.id

    async def labels(self, job_id: JobId) -> dict[Row, Label]:
        async with self.store.worker_unit() as unit:
            return dict(await unit.labels.of_shard(job_id, 0))


@pytest.mark.parametrize("all_spellings", [False, True])
async def test_trainings_of_a_search_count_the_spellings_that_its_prompts_count(*, all_spellings: bool) -> None:
    place = Place()
    rows = source(*({"q": f"row {number}"} for number in range(ROWS)))
    chosen = config(search=SCALABLE, all_spellings=all_spellings)
    await submit(chosen, rows, place.projects, place.scorers, idempotency_key=None)
    assert await place.worker().work_once()
    assert place.trainer.all_spellings == {all_spellings}


def content(trainings: Sequence[object]) -> list[str]:
    return sorted(map(repr, trainings))


@pytest.mark.parametrize("search", [SCALABLE, ITERATIVE], ids=["scalable", "iterative"])
async def test_a_job_is_labelled_by_trainings_and_its_report_has_them(search: dict[str, Any]) -> None:
    place = Place()
    job_id = await place.submitted(search)
    assert await place.worker().work_once()
    ended = await job(place.store, job_id)
    assert (ended.status, ended.progress.labeled) == (JobStatus.SUCCEEDED, ROWS)
    trained = len(place.trainer.trainings)
    assert trained >= 4
    found = await report(place.projects, job_id)
    assert found.search.trainings == trained
    assert found.search.tokens_trained
    assert found.search.polarity_trial is not None
    assert found.search.polarity_trial.found_nats < found.search.polarity_trial.permuted_nats
    assert not [reason for reason in found.reasons if reason.code == "polarity_trial"]
    assert bool(found.search.changed_shares) is (search is SCALABLE)


@pytest.mark.parametrize("search", [SCALABLE, ITERATIVE], ids=["scalable", "iterative"])
@pytest.mark.parametrize("stopped_at", [1, 4])
async def test_a_job_stopped_within_a_round_ends_the_same_and_repeats_no_finished_training(
    search: dict[str, Any], stopped_at: int
) -> None:
    calm, stormy = Place(), Place()
    jobs = [await place.submitted(search) for place in (calm, stormy)]
    await calm.worker().work_once()
    first = stormy.worker()
    stormy.trainer.at_training[stopped_at] = first.stop
    await first.work_once()
    assert (await job(stormy.store, jobs[1])).status is JobStatus.RUNNING
    assert stormy.trainer.stopped >= 1
    await stormy.worker().work_once()
    assert await stormy.labels(jobs[1]) == await calm.labels(jobs[0])
    assert len(stormy.trainer.trainings) == len(calm.trainer.trainings) + stormy.trainer.stopped
    assert set(content(stormy.trainer.trainings)) == set(content(calm.trainer.trainings))
    told = [(await report(place.projects, of)).search for place, of in zip((calm, stormy), jobs, strict=True)]
    assert told[0] == told[1]


async def test_scores_of_another_base_are_not_reused() -> None:
    place = Place()
    for base, twice in (("base", False), ("base", True), ("other", False)):
        place.trainer.base = base
        before = len(place.trainer.trainings)
        await place.submitted(SCALABLE)
        await place.worker().work_once()
        assert (len(place.trainer.trainings) == before) is twice


async def test_a_job_without_answer_memory_trains_as_well() -> None:
    place = Place(max_answers=0)
    job_id = await place.submitted(SCALABLE)
    await place.worker().work_once()
    assert (await job(place.store, job_id)).status is JobStatus.SUCCEEDED


async def test_a_training_that_fails_fails_the_job_and_says_why() -> None:
    place = Place()

    def fail() -> None:
        raise TrainingFailed("a training of 'base' failed: memory does not suffice")

    place.trainer.at_training[2] = fail
    job_id = await place.submitted(SCALABLE)
    await place.worker().work_once()
    ended = await job(place.store, job_id)
    assert ended.status is JobStatus.FAILED
    assert ended.error == {"code": "TrainingFailed", "message": "a training of 'base' failed: memory does not suffice"}


async def test_a_worker_without_a_trainer_fails_the_job_and_says_why() -> None:
    place = Place()
    job_id = await place.submitted(SCALABLE)
    place.application = Application(
        place.application.settings, place.store, ConfiguredScorers({"default": DeterministicScorer()})
    )
    await place.worker().work_once()
    ended = await job(place.store, job_id)
    assert ended.error is not None
    assert ended.error["code"] == "TrainingFailed"
    assert "ICM_TRAINING__BASES" in ended.error["message"]


async def test_tokens_that_trainings_read_count_against_the_limit_of_a_job() -> None:
    place = Place()
    ample = await place.submitted(ITERATIVE)
    await place.worker().work_once()
    spent = (await job(place.store, ample)).progress
    place.trainer.base, made = "other", len(place.trainer.trainings)
    short = await place.submitted(ITERATIVE, limits=Limits(max_tokens_computed=1))
    await place.worker().work_once()
    assert (await job(place.store, short)).status is JobStatus.SUCCEEDED
    assert len(place.trainer.trainings) == made + 1  # what the search asks in context is remembered and costs nothing
    learned = sum(3 * len(one.examples) for one in place.trainer.trainings[:2])
    assert spent.tokens_computed > learned


async def test_a_worker_that_lost_its_lease_stores_nothing_of_a_training() -> None:
    place = Place()
    job_id = await place.submitted(SCALABLE)
    train, rivals = place.trainer.train_and_score, list[ClaimedShard]()

    async def overtaken(*asked: Any, **told: Any) -> Any:
        found = await train(*asked, **told)
        if not rivals:
            place.clock.advance(1000.0)
            rivals.append(await claimed(place.store, BOB, LONG))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.trainer, "train_and_score", overtaken)
        with pytest.raises(LeaseLost):
            await place.worker().work_once()
    made = len(place.trainer.trainings)
    await release(place.store, rivals[0])
    await place.worker().work_once()
    assert (await job(place.store, job_id)).status is JobStatus.SUCCEEDED
    assert content(place.trainer.trainings[:made]) == content(place.trainer.trainings[made : 2 * made])


async def test_trainings_of_a_round_run_concurrently_and_each_is_charged() -> None:
    place = Place()
    under_way: list[int] = []
    train = place.trainer.train_and_score
    running = 0

    async def watched(*asked: Any, **told: Any) -> Any:
        nonlocal running
        running += 1
        under_way.append(running)
        await asyncio.sleep(0.01)
        found = await train(*asked, **told)
        running -= 1
        return found

    job_id = await place.submitted(SCALABLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.trainer, "train_and_score", watched)
        await place.worker().work_once()
    assert max(under_way) == 3
    learned = sum(one.epochs * len(one.examples) for one in place.trainer.trainings)
    assert (await job(place.store, job_id)).progress.tokens_computed > learned


@pytest.mark.parametrize("search", [SCALABLE, ITERATIVE], ids=["scalable", "iterative"])
async def test_the_time_left_is_unknown_until_a_training_has_ended_and_then_goes_by_trainings(
    search: dict[str, Any],
) -> None:
    place = Place()
    train, one_by_one = place.trainer.train_and_score, asyncio.Lock()

    async def slow(asked: TrainAndScore, *more: Any, **told: Any) -> Any:
        async with one_by_one:
            place.clock.advance(0.1 * (asked.epochs * len(asked.examples) + len(asked.queries)))
            return await train(asked, *more, **told)

    job_id = await place.submitted(search)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.trainer, "train_and_score", slow)
        await place.worker().work_once()
    async with place.store.project_unit(LOCAL_CALLER) as unit:
        log = await unit.events.after(job_id, 0, limit=1000)
    [end] = [event.created_at for event in log if event.type == "job.succeeded"]
    told = [(event.data["eta_seconds"], event.created_at) for event in log if event.type == "job.progress"]
    unknown = [left for left, _ in told if left is None]
    known = [(left, (end - when).total_seconds()) for left, when in told[len(unknown) :]]
    assert unknown, "the first part is searched without trainings"
    assert len(known) >= len(place.trainer.trainings)
    assert all(left >= 0.95 * really - 0.5 for left, really in known), "rounds may end early, and none comes besides"
    assert all(later <= earlier + 0.5 for (earlier, _), (later, _) in pairwise(known))
    assert known[-1][0] == 0
    if search is ITERATIVE:
        assert known[0][0] == pytest.approx(known[0][1], rel=0.1)


async def test_a_worker_that_goes_on_measures_trainings_anew() -> None:
    place = Place()
    job_id = await place.submitted(ITERATIVE)
    first = place.worker()
    place.trainer.at_training[2] = first.stop
    await first.work_once()
    place.clock.advance(3600.0)  # nobody works
    told = list[float | None]()
    train = place.trainer.train_and_score

    async def watched(*asked: Any, **more: Any) -> Any:
        told.append((await job(place.store, job_id)).progress.eta_seconds)
        place.clock.advance(1.0)
        return await train(*asked, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.trainer, "train_and_score", watched)
        await place.worker().work_once()
    assert told[0] is None
    assert all(left is not None and 0 < left < 60 for left in told[1:])
