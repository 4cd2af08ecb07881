"""A job by method reward_model: the text with the higher reward is the better one, whatever interrupts the work."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from api.labelling.configuration import parse_config
from service.access.caller_store import CallerStore
from service.bootstrap import Application, build_application
from service.config import JobConfig
from service.errors import LeaseLost, RewardModelUnusable, RewardsUnavailable
from service.identifiers import JobId, WorkerId
from service.jobs.control import cancel, pause, resume
from service.jobs.reporting.report import Report, report
from service.jobs.running import rewards as running
from service.jobs.submission.submit import submit
from service.records.access import LOCAL_CALLER
from service.records.jobs import ClaimedShard, Job, JobStatus
from service.records.labels import LabeledRow, LabelStatus
from service.records.rewards import RewardedText, RewardModel
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers
from service.settings import QueueSettings, QuotaSettings, Settings
from tests.support.memory import MemoryStore
from tests.support.rewards import CONTEXT_WORDS, PretendRewards, reward_report, reward_training
from tests.support.sources import source
from tests.support.stored import BOB, LONG, claimed, job, release
from tests.support.stores import Clock
from workers.worker import Worker

TASK: dict[str, Any] = {
    "template": "Is {a} more than {b}?",
    "labels": ["Yes", "No"],
    "gold_field": "gold",
    "relations": [{"kind": "antisymmetric", "first": "a", "second": "b"}],
}
Rows = list[dict[str, Any]]


def twins(*compared: tuple[object, object]) -> Rows:
    """A row for each comparison, and its swapped twin behind all of them."""
    swapped = [(second, first) for first, second in compared]
    return [{"a": first, "b": second, "gold": None} for first, second in [*compared, *swapped]]


class Place:
    """A worker that can ask reward models, its store and a reward model."""

    def __init__(self, told: dict[str, Any] | None = None, *, tokens_per_day: int = 0, **training: Any) -> None:
        self.clock = Clock()
        self.store = MemoryStore(max_crashes=3, now=self.clock.now)
        self.rewards = PretendRewards()
        self.scorers = ConfiguredScorers({"default": DeterministicScorer()}, rewards=self.rewards)
        settings = Settings(
            queue=QueueSettings(checkpoint_seconds=0.0), quota=QuotaSettings(tokens_per_day=tokens_per_day)
        )
        wired = build_application(settings, store=self.store)
        self.application = Application(wired.settings, self.store, self.scorers)
        self.training = reward_training(told, **training)
        self.store.state.trainings[self.training.training.id] = self.training

    @property
    def projects(self) -> CallerStore:
        return CallerStore(self.store, LOCAL_CALLER)

    def worker(self) -> Worker:
        return Worker(self.application, WorkerId("worker"))

    def config(self, task: dict[str, Any] | None = None, **more: Any) -> JobConfig:
        chosen = {"method": "reward_model", "reward": self.training.training.id, "task": {**TASK, **(task or {})}}
        return parse_config({**chosen, **more})

    async def submitted(self, rows: Rows, task: dict[str, Any] | None = None, **more: Any) -> JobId:
        receipt = await submit(
            self.config(task, **more), source(*rows), self.projects, self.scorers, idempotency_key=None
        )
        return receipt.job.id

    async def labelled(self, rows: Rows, task: dict[str, Any] | None = None, **more: Any) -> JobId:
        job_id = await self.submitted(rows, task, **more)
        while await self.worker().work_once():
            pass
        return job_id

    async def rows(self, job_id: JobId) -> list[LabeledRow]:
        async with self.projects.project_unit() as unit:
            return [row async for row in unit.labels.result(job_id)]

    async def labels(self, job_id: JobId) -> list[int | None]:
        return [row.state.label for row in await self.rows(job_id)]

    async def job(self, job_id: JobId) -> Job:
        return await job(self.store, job_id)

    async def report(self, job_id: JobId) -> Report:
        return await report(self.projects, job_id)


@pytest.fixture
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "TEXTS_AT_ONCE", 2)


MANY = twins(*((number, number + 1 if number % 2 else number - 1) for number in range(1, 13)))


@pytest.mark.usefixtures("small_requests")
async def test_the_time_left_goes_by_the_texts_without_a_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    job_id, score, told = await place.submitted(MANY), place.rewards.score, list[tuple[datetime, float | None]]()

    async def slowly(model: RewardModel, texts: Sequence[str]) -> Sequence[RewardedText]:
        told.append((place.clock.now(), (await place.job(job_id)).progress.eta_seconds))
        place.clock.advance(60.0 * len(texts))
        return await score(model, texts)

    monkeypatch.setattr(place.rewards, "score", slowly)
    assert await place.worker().work_once()
    (_, first), *others = told
    assert first is None
    assert len(others) >= 3
    for when, left in others:
        assert left == pytest.approx((place.clock.now() - when).total_seconds(), rel=0.1)


def without_texts(found: Report, *codes: str) -> set[str]:
    return {reason.code for reason in found.reasons} - {"too_few_rows", "shortcut", *codes}


async def test_the_text_with_the_higher_reward_is_the_better_one() -> None:
    place = Place()
    job_id = await place.labelled(twins((3, 1), (2, 2.5)))
    ended = await place.job(job_id)
    assert (ended.status, ended.progress.labeled, ended.backend_id) == (JobStatus.SUCCEEDED, 4, None)
    assert await place.labels(job_id) == [0, 1, 1, 0]
    states = [row.state for row in await place.rows(job_id)]
    assert states[0].margin == states[2].margin == pytest.approx(2.0)
    assert states[0].confidence == states[2].confidence == pytest.approx(1 / (1 + math.exp(-2)))
    assert states[0].status is states[2].status is LabelStatus.LABELED
    assert states[1].margin == pytest.approx(0.5)


async def test_each_text_is_read_once_and_counted() -> None:
    place = Place()
    ended = await place.job(await place.labelled(twins((3, 1), (3, 2))))
    assert sorted(text for request in place.rewards.requests for text in request) == ["1", "2", "3"]
    assert (ended.progress.prompts, ended.progress.tokens_sent, ended.progress.tokens_computed) == (3, 3, 3)
    assert place.store.state.tokens_today() == 3


async def test_the_group_stands_in_front_of_both_texts_as_the_reward_model_learned_it() -> None:
    place = Place()
    relation = {"kind": "antisymmetric", "first": "a", "second": "b", "group": ["q", "r"], "label": "No"}
    rows = [{"q": "why", "r": "so", "a": "x 1", "b": "y 2", "gold": None}, {"q": "who", "a": "1", "b": "2", "r": None}]
    job_id = await place.labelled(rows, {"relations": [relation], "gold_field": None})
    assert place.rewards.requests == [["why\nso\nx 1", "why\nso\ny 2"]]
    assert await place.labels(job_id) == [0, None], "label No says that the first is better, and a blank group none"


async def test_a_tie_has_no_label_and_is_reported() -> None:
    place = Place()
    job_id = await place.labelled(twins((1, "so 1"), (2, 1), (4, 4)))
    assert await place.labels(job_id) == [None, 0, None, None, 1, None]
    why = [row.state.reason for row in await place.rows(job_id)]
    assert why[0] == why[3] == "both texts have the same reward"
    assert str(why[2]).startswith("the row compares nothing")
    found = await place.report(job_id)
    assert found.reward_model is not None
    assert (found.reward_model.ties, found.reward_model.compare_nothing) == (2, 2)
    assert "uncertain" in without_texts(found)


async def test_a_text_over_the_context_leaves_its_row_without_a_label_and_no_other() -> None:
    place = Place()
    job_id = await place.labelled(twins(("word " * CONTEXT_WORDS + "9", 1), (2, 1)))
    assert await place.labels(job_id) == [None, 0, None, 1]
    assert "longer than the context of the reward model" in str((await place.rows(job_id))[0].state.reason)
    assert (await place.job(job_id)).status is JobStatus.SUCCEEDED


async def test_known_rows_and_their_twins_keep_what_is_known() -> None:
    place = Place()
    rows = twins((3, 1), (2, 1), (5, 4))
    rows[0]["known"], rows[1]["known"] = "No", "Yes"
    job_id = await place.labelled([{"known": None, **row} for row in rows], {"known_field": "known"})
    assert await place.labels(job_id) == [1, 0, 0, 0, 1, 1]
    state = (await place.rows(job_id))[0].state
    assert state.status is LabelStatus.UNCERTAIN
    assert state.margin == pytest.approx(-2.0)
    found = await place.report(job_id)
    assert found.known_accuracy is not None
    assert (found.known_accuracy.hits, found.known_accuracy.rows) == (1, 2)


async def test_a_known_row_that_breaks_the_order_is_reported_as_a_conflict() -> None:
    place = Place()
    rows: Rows = [{"a": a, "b": b, "known": None} for a, b in ((3, 2), (2, 1), (3, 1))]
    rows[2]["known"] = "No"
    relations = [*TASK["relations"], {**TASK["relations"][0], "kind": "transitive"}]
    job_id = await place.labelled(rows, {"known_field": "known", "relations": relations, "gold_field": None})
    assert (await place.job(job_id)).progress.inconsistencies == 1
    assert "conflicts" in without_texts(await place.report(job_id))


@pytest.mark.usefixtures("small_requests")
@pytest.mark.parametrize("stopped_at", [1, 4])
async def test_stopped_on_its_way_it_ends_the_same_and_asks_for_no_text_twice(stopped_at: int) -> None:
    calm, stormy = Place(), Place()
    whole, cut = await calm.submitted(MANY), await stormy.submitted(MANY)
    await calm.worker().work_once()
    first = stormy.worker()
    stormy.rewards.at_request[stopped_at] = first.stop
    await first.work_once()
    assert (await stormy.job(cut)).status is JobStatus.RUNNING
    assert 0 < (await stormy.job(cut)).progress.prompts < 13
    await stormy.worker().work_once()
    assert [row.state for row in await stormy.rows(cut)] == [row.state for row in await calm.rows(whole)]
    assert stormy.rewards.requests == calm.rewards.requests
    assert (await stormy.job(cut)).progress == (await calm.job(whole)).progress
    assert (await stormy.report(cut)).reward_model is not None


@pytest.mark.usefixtures("small_requests")
async def test_rewards_of_another_reward_model_are_not_gone_on_with() -> None:
    place = Place()
    job_id = await place.submitted(MANY)
    first = place.worker()
    place.rewards.at_request[2] = first.stop
    await first.work_once()
    assert place.training.training.artifact is not None
    other = replace(place.training.training, artifact=replace(place.training.training.artifact, sha256="b" * 64))
    place.store.state.trainings[other.id] = replace(place.training, training=other)
    await place.worker().work_once()
    assert (await place.job(job_id)).status is JobStatus.SUCCEEDED
    assert place.rewards.requests.count(["1", "2"]) == 2


@pytest.mark.usefixtures("small_requests")
async def test_a_process_that_dies_is_asked_again_and_given_up_after_a_few_times() -> None:
    place = Place()

    def die() -> None:
        raise RewardsUnavailable("its process ended with status -9")

    place.rewards.at_request[3] = die
    job_id = await place.submitted(MANY)
    await place.worker().work_once()
    assert (await place.job(job_id)).status is JobStatus.RUNNING
    place.clock.advance(10.0)
    await place.worker().work_once()
    assert (await place.job(job_id)).status is JobStatus.SUCCEEDED
    assert len(place.rewards.requests) == 7  # one of them in vain
    place.rewards.at_request = dict.fromkeys(range(8, 30), die)
    doomed = await place.submitted(MANY)
    for _ in range(5):
        place.clock.advance(10.0)
        await place.worker().work_once()
    assert (await place.job(doomed)).status is JobStatus.FAILED


async def test_a_reward_model_that_does_not_load_fails_the_job_and_says_why() -> None:
    place = Place()

    def refuse() -> None:
        raise RewardModelUnusable("the reward model is an adapter of another base")

    place.rewards.at_request[1] = refuse
    ended = await place.job(await place.labelled(MANY))
    assert ended.error == {"code": "RewardModelUnusable", "message": "the reward model is an adapter of another base"}


async def test_a_reward_model_that_was_deleted_fails_the_job_and_says_so() -> None:
    place = Place()
    job_id = await place.submitted(MANY)
    place.store.state.trainings.clear()
    await place.worker().work_once()
    error = (await place.job(job_id)).error
    assert error is not None
    assert "was deleted before the job ended" in error["message"]


@pytest.mark.usefixtures("small_requests")
async def test_a_worker_that_lost_its_lease_writes_nothing() -> None:
    place = Place()
    job_id = await place.submitted(MANY)
    rivals = list[ClaimedShard]()

    async def overtaken(*asked: Any) -> Any:
        found = await score(*asked)
        if len(place.rewards.requests) == 3:
            place.clock.advance(1000.0)
            rivals.append(await claimed(place.store, BOB, LONG))
        return found

    score = place.rewards.score
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.rewards, "score", overtaken)
        with pytest.raises(LeaseLost):
            await place.worker().work_once()
    before = [row.state for row in await place.rows(job_id)]
    await release(place.store, rivals[0])
    await place.worker().work_once()
    assert (await place.job(job_id)).status is JobStatus.SUCCEEDED
    assert before != [row.state for row in await place.rows(job_id)]


@pytest.mark.usefixtures("small_requests")
async def test_a_job_is_paused_resumed_and_cancelled_like_any() -> None:
    place = Place()
    job_id = await place.submitted(MANY)
    await pause(place.projects, job_id)
    assert not await place.worker().work_once()
    await resume(place.projects, job_id)
    await place.worker().work_once()
    assert (await place.job(job_id)).status is JobStatus.SUCCEEDED
    other = await place.submitted(MANY)
    assert (await cancel(place.projects, other)).status is JobStatus.CANCELLED
    assert not await place.worker().work_once()


@pytest.mark.usefixtures("small_requests")
async def test_limits_of_a_job_and_tokens_of_the_day_hold() -> None:
    place = Place()
    job_id = await place.labelled(MANY, limits={"max_tokens_computed": 4})
    ended = await place.job(job_id)
    assert (ended.status, ended.progress.tokens_computed) == (JobStatus.SUCCEEDED, 4)
    assert "limit" in without_texts(await place.report(job_id))
    poor = Place(tokens_per_day=4)
    waiting = await poor.submitted(MANY)
    await poor.worker().work_once()
    ended = await poor.job(waiting)
    assert (ended.status, ended.progress.tokens_computed) == (JobStatus.PAUSED, 4)
    assert ended.error is not None
    assert ended.error["code"] == "quota_exhausted"


async def test_many_rows_are_several_shards_and_twins_are_never_parted() -> None:
    place = Place()
    job_id = await place.labelled(MANY, search={"shard_rows": 4})
    assert len({number for found, number in place.store.state.items if found == job_id}) == 6
    labels = await place.labels(job_id)
    assert all({one, other} == {0, 1} for one, other in zip(labels[:12], labels[12:], strict=True))
    found = await place.report(job_id)
    assert found.reward_model is not None
    assert found.labels[0].population is not None


@pytest.mark.parametrize(
    ("told", "codes"),
    [
        (reward_report(0.95, 100), set()),
        (reward_report(None, 0), {"reward_unmeasured"}),
        (reward_report(0.55, 100), {"reward_chance"}),
        (reward_report(1.0, 3), {"reward_chance"}),
        (reward_report(0.7, 1000), {"reward_weak"}),
    ],
    ids=["good", "nothing held out", "chance", "few", "weak"],
)
async def test_the_verdict_stands_on_held_out_pairs(told: dict[str, Any], codes: set[str]) -> None:
    place = Place(told)
    found = await place.report(await place.labelled(MANY))
    assert without_texts(found) == codes
    assert found.coherence.gain_nats is None
    assert found.reward_model is not None
    assert (found.reward_model.training_id, found.reward_model.job_ids) == (place.training.training.id, ["job_0"])


async def test_labels_of_a_doubtful_source_are_doubtful() -> None:
    place = Place(force=True)
    assert without_texts(await place.report(await place.labelled(MANY))) == {"reward_forced"}


async def test_gold_changes_no_label() -> None:
    place = Place()
    golds = [await place.labelled([{**row, "gold": gold} for row in MANY]) for gold in ("Yes", "No")]
    assert await place.labels(golds[0]) == await place.labels(golds[1])
    shares = [(await place.report(job_id)).gold.accuracy for job_id in golds]
    assert sum(share or 0 for share in shares) == pytest.approx(1.0)
