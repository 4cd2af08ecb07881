"""Texts scored over HTTP, and jobs that name a reward model: what is refused, counted and kept apart."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.training import scoring as route
from service.errors import ArtifactsUnavailable, RewardModelUnusable, RewardsUnavailable
from service.identifiers import JobId, WorkerId, new_training_id
from service.records.access import LOCAL_CALLER
from service.records.trainings import Artifact, NewTraining
from service.records.work import WorkKind, WorkStatus
from service.scoring.registry import ConfiguredScorers
from service.settings import Settings
from service.trainings.scoring import score
from service.trainings.scoring.request import MOST_TEXTS
from tests.support.rewards import CONTEXT_WORDS, MANIFEST, PretendRewards, reward_report
from tests.support.running.harness import CONFIG, Service, pairs
from tests.support.stores import ScratchStore


class Scoring(Service):
    """A service that asks a pretended reward model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rewards = PretendRewards()
        self.scorers = ConfiguredScorers({"default": self.backend}, rewards=self.rewards)


@pytest.fixture
async def service() -> AsyncIterator[Scoring]:
    store = ScratchStore()
    service = Scoring(store)
    async with service.client:
        yield service
    await store.close()


async def trained(service: Service, report: dict[str, Any] | None = None, *, finish: bool = True) -> JobId:
    """A training of this project, finished unless it is to wait."""
    told = reward_report() if report is None else report
    new = NewTraining(
        id=new_training_id(),
        config={"job_ids": ["job_0"], "kind": told["kind"]},
        base="default",
        spec={"kind": told["kind"]},
        rows=2,
        examples=Artifact("e" * 64, 20),
    )
    async with service.store.project_unit(LOCAL_CALLER) as unit:
        await unit.trainings.add(new)
    if not finish:
        return new.id
    async with service.store.worker_unit() as unit:
        work = await unit.work.claim((WorkKind.TRAIN,), WorkerId("trainer"), 60.0)
        assert work is not None
        await unit.trainings.finish(work.lease, Artifact("a" * 64, 9), manifest=MANIFEST, report=told)
        await unit.work.finish(work.lease, WorkStatus.SUCCEEDED, summary={})
    return new.id


async def scored(service: Service, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await service.client.post("/v1/score", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def fields(service: Service, **body: Any) -> list[tuple[str | None, str]]:
    told = await scored(service, 422, **body)
    return [(fault["field"], fault["message"]) for fault in told["errors"]]


async def test_texts_and_responses_are_scored_in_their_order(service: Scoring) -> None:
    reward = await trained(service)
    prompts = [{"prompt": "Why?\n", "responses": ["a 3", "b 1"]}]
    found = await scored(service, reward=reward, texts=["so 2"], prompts=prompts)
    assert [(one["field"], one["score"]) for one in found["data"]] == [
        ("texts.0", 2.0),
        ("prompts.0.responses.0", 3.0),
        ("prompts.0.responses.1", 1.0),
    ]
    assert service.rewards.requests == [["so 2", "Why?\na 3", "Why?\nb 1"]]
    assert (found["object"], found["reward"], found["sha256"], found["tokens"]) == ("scores", reward, "a" * 64, 8)


async def test_tokens_count_for_the_day_and_its_quota_holds(service: Scoring) -> None:
    reward = await trained(service)
    await scored(service, reward=reward, texts=["one two 3"])
    async with service.store.project_unit(LOCAL_CALLER) as unit:
        assert (await unit.account.usage()).tokens_today == 3
    service.settings = Settings.model_validate({"quota": {"tokens_per_day": 3}})
    told = await scored(service, 429, reward=reward, texts=["4"])
    assert told["quota"] == {"quota": "tokens_per_day", "limit": 3, "used": 3}
    assert len(service.rewards.requests) == 1


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"texts": ["a"]}, "reward", "is missing"),
    ({"reward": "TRAINING"}, "texts", "send texts"),
    ({"reward": "TRAINING", "texts": [""]}, "texts.0", "at least 1 character"),
    ({"reward": "TRAINING", "texts": ["a", " \n"]}, "texts.1", "is blank"),
    (
        {"reward": "TRAINING", "prompts": [{"prompt": "a", "responses": ["b", " "]}]},
        "prompts.0.responses.1",
        "blank",
    ),
    ({"reward": "TRAINING", "texts": ["a", 2]}, "texts.1", "must be text"),
    ({"reward": "TRAINING", "texts": ["1"] * (MOST_TEXTS + 1)}, "texts", "at most 256"),
    (
        {"reward": "TRAINING", "texts": ["1"] * MOST_TEXTS, "prompts": [{"prompt": "", "responses": ["1"]}]},
        "texts",
        "a request may have 256",
    ),
    ({"reward": "TRAINING", "texts": ["1" * 100_001]}, "texts.0", "at most 100000"),
    ({"reward": "TRAINING", "prompts": [{"prompt": "a"}]}, "prompts.0.responses", "is missing"),
    ({"reward": "TRAINING", "prompts": [{"prompt": "a", "response": ["b"]}]}, "prompts.0.response", "'responses'"),
    ({"reward": "TRAINING", "text": ["a"]}, "text", "did you mean 'texts'"),
    ({"reward": "train_1", "texts": ["a"]}, "reward", "there is no training 'train_1': its id is train_ and 32"),
    ({"reward": "train_" + "0" * 32, "texts": ["a"]}, "reward", "it was deleted, or the project never had it"),
]


async def test_faults_of_a_request_name_their_field(service: Scoring) -> None:
    reward = await trained(service)
    for body, field, words in REFUSED:
        told = await fields(service, **{name: reward if value == "TRAINING" else value for name, value in body.items()})
        assert any(found == field and words in message for found, message in told), told
        assert not any(name in str(told).lower() for name in ("pydantic", "valueerror", "nonetype"))
    assert service.rewards.requests == []


async def test_a_text_over_the_context_is_named_and_nothing_is_cut_off(service: Scoring) -> None:
    reward = await trained(service)
    [(field, message)] = await fields(service, reward=reward, texts=["1", "long " * CONTEXT_WORDS + "2"])
    assert field == "texts.1"
    assert f"takes {CONTEXT_WORDS + 1} tokens" in message


async def test_what_is_no_finished_reward_model_is_refused(service: Scoring) -> None:
    for training, words in (
        (
            await trained(service, {**reward_report(), "kind": "label"}),
            "is of kind label, which predicts labels; name one of kind reward",
        ),
        (await trained(service, {"kind": "policy"}, finish=False), "is of kind policy, which writes completions; name"),
        (await trained(service, finish=False), "is queued; it can be used once it has succeeded"),
    ):
        [(field, message)] = await fields(service, reward=training, texts=["1"])
        assert (field, words in message) == ("reward", True), message


async def test_an_installation_without_reward_models_says_so(service: Scoring) -> None:
    reward = await trained(service)
    service.scorers = ConfiguredScorers({"default": service.backend}, rewards=PretendRewards(problem="peft is missing"))
    [(field, message)] = await fields(service, reward=reward, texts=["1"])
    assert (field, message) == ("reward", "peft is missing")


async def test_a_reward_model_that_is_slow_is_worth_another_try(
    service: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = await trained(service)

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    async def impatient(*asked: Any) -> Any:
        return await score.score_texts(*asked, patience_seconds=0.0)

    monkeypatch.setattr(service.rewards, "score", never)
    monkeypatch.setattr(route, "score_texts", impatient)
    answer = await service.client.post("/v1/score", json={"reward": reward, "texts": ["1"]})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:icm:problem:rewards-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "send the request again" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RewardsUnavailable("its process ended with status -9"), 503),
        (RewardModelUnusable("it is an adapter of another base"), 409),
        (ArtifactsUnavailable("/secret/place"), 503),
    ],
)
async def test_failures_of_the_reward_model_are_problems_without_places(
    service: Scoring, error: Exception, status: int
) -> None:
    reward = await trained(service)

    def fail() -> None:
        raise error

    service.rewards.at_request[1] = fail
    told = await scored(service, status, reward=reward, texts=["1"])
    assert "/secret/place" not in str(told)


async def test_reward_models_of_others_are_not_there(service: Scoring) -> None:
    reward = await trained(service)
    stranger = await service.member("others")
    told = f"there is no training {reward!r}; it was deleted, or the project never had it"
    for path, body in (
        ("/v1/score", {"reward": reward, "texts": ["1"]}),
        ("/v1/jobs", {"config": {**CONFIG, "method": "reward_model", "reward": reward}, "examples": pairs(8)}),
    ):
        answer = await stranger.post(path, json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"line": None, "field": "reward", "message": told}]
    assert service.rewards.requests == []


async def test_a_job_names_the_reward_model_that_labels_it(service: Scoring) -> None:
    reward = await trained(service)
    job = await service.post(pairs(8), method="reward_model", reward=reward)
    assert (job["config"]["method"], job["config"]["reward"]) == ("reward_model", reward)
    again = await service.post(pairs(8), method="reward_model", reward=reward, model="anything")
    assert again["status"] == "queued", "no inference server is asked"


async def test_an_estimate_counts_texts_and_shows_what_the_reward_model_reads(service: Scoring) -> None:
    reward = await trained(service)
    config = {**CONFIG, "method": "reward_model", "reward": reward}
    answer = await service.client.post("/v1/jobs/estimate", json={"config": config, "examples": pairs(8)})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["rows"], found["prompts"], found["tokens_computed"]) == (8, 8, 56)
    assert found["sample_prompt"] == "0\n\n1"
    assert (await service.client.get("/v1/jobs")).json()["data"] == []


UNFIT: list[tuple[dict[str, Any], str, str]] = [
    ({"reward": None}, "reward", "needs the id of a training of kind reward"),
    ({"method": "icm"}, "reward", "is for method 'reward_model', and the method is 'icm'"),
    ({"task": {"relations": []}}, "task.relations", "needs a relation antisymmetric"),
    ({"task": {"labels": ["Yes", "No", "Same"]}}, "task.labels", "needs two labels; the task has 3"),
    ({"task": {"shares": {"Yes": 0.5}}}, "task.shares", "cannot keep shares"),
    (
        {"task": {"relations": [*CONFIG["task"]["relations"], {"kind": "same_label", "group": "a"}]}},
        "task.relations.1",
        "does not keep this relation same_label",
    ),
    (
        {
            "task": {
                "relations": [
                    *CONFIG["task"]["relations"],
                    {"kind": "antisymmetric", "first": "b", "second": "a", "label": "No"},
                ]
            }
        },
        "task.relations.1",
        "does not keep this relation antisymmetric",
    ),
]


async def test_a_job_that_no_reward_model_can_label_is_refused_by_field(service: Scoring) -> None:
    reward = await trained(service)
    for changes, field, words in UNFIT:
        task = {**CONFIG["task"], **changes.get("task", {})}
        config = {**CONFIG, "method": "reward_model", "reward": reward, **changes, "task": task}
        answer = await service.client.post("/v1/jobs", json={"config": config, "examples": pairs(8)})
        assert answer.status_code == 422, changes
        told = [(fault["field"], fault["message"]) for fault in answer.json()["errors"]]
        assert any(found == field and words in message for found, message in told), told
