"""Policies over HTTP: made of a job's rows and finished reward models, which stay as long as they are needed."""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from service.identifiers import JobId, new_training_id
from service.records.access import LOCAL_CALLER
from service.records.trainings import Artifact, NewTraining, TrainingOrder
from service.records.work import WorkStatus
from service.settings import Settings
from service.trainings.request import parse_request
from tests.support.running.harness import CONFIG, Service, pairs
from tests.support.stores import ScratchStore
from tests.unit.api.test_trainings import claimed, examples, refusal

BASES = {"default": "a-model", "alias": "a-model", "other": "another-model"}
REWARD_REPORT = {"kind": "reward"}
FORM = "its id is train_ and 32 hexadecimal digits, as `icm trainings` lists it"
MANIFEST = {"artifact": {"folder": "adapter"}}
REPORT = {
    "kind": "policy",
    "rows": {"trained": 9, "held_out": 3},
    "before": {"held_out": {"reward": -1.0, "completion_tokens": 4.0, "repetition": 0.0}},
    "training": {
        "curves": {"reward": [[1, -1.0], [2, 0.5]], "kl_nats": [[1, 0.0], [2, 0.75]]},
        "ended_early": "the reward on held-out prompts fell",
        "epochs": [{"epoch": 1.0, "held_out": {"reward": 0.5, "kl_nats": 0.75, "completion_tokens": 9.0}}],
        "tokens_per_second": 50.0,
        "peak_memory": {"bytes": 2_000_000_000, "gpu_bytes": None},
        "steps": 2,
    },
    "after": {
        "rows": 3,
        "reward": {"before": -1.0, "after": 0.5, "gain": 1.5, "gain_standard_error": 0.1},
        "judge": {"before": 0.25, "after": 0.0, "gain": -0.25, "gain_standard_error": 0.1},
        "win_rate": 0.07,
        "win_rate_by_reward": 0.99,
        "kl_nats": 0.75,
        "goes_with": {
            "gain": 1.5,
            "length": {"before": 4.0, "after": 9.0, "share_of_gain": 1.07},
            "repetition": {"before": 0.0, "after": 0.0, "share_of_gain": None},
            "both": 1.07,
        },
        "warnings": [{"code": "judge_disagrees", "message": "the reward rose, and the judge prefers the base"}],
        "samples": [
            {
                "prompt": "Why <b>?",
                "base": {"text": "<script>alert(1)</script>", "reward": -1.0},
                "policy": {"text": "Because", "reward": 0.5},
            }
        ],
    },
}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    store = ScratchStore()
    service = Service(store, settings=Settings.model_validate({"data_dir": tmp_path, "training": {"bases": BASES}}))
    async with service.client:
        yield service
    await store.close()


async def ended(service: Service, weights: str, report: Mapping[str, Any] = REWARD_REPORT) -> None:
    """What a worker does with the next training; the weights are one file."""
    work = await claimed(service)
    folder = service.settings.data_dir / "made" / weights
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_text(weights)
    artifact = await service.artifacts.put(work.lease.job_id, folder)
    async with service.store.worker_unit() as unit:
        await unit.trainings.finish(work.lease, artifact, manifest=MANIFEST, report=report)
        await unit.work.finish(work.lease, WorkStatus.SUCCEEDED)


async def queued(service: Service, kind: str, job_id: str = "job_0", base: str = "default", **changes: Any) -> str:
    """The id of a training as if it had been asked for, whose job was deleted since."""
    config = parse_request({"kind": kind, "job_ids": [job_id], **changes}).model_dump(mode="json")
    new = NewTraining(id=new_training_id(), config=config, base=base, spec={}, rows=2, examples=Artifact("e" * 64, 20))
    async with service.store.project_unit(LOCAL_CALLER) as unit:
        await unit.trainings.add(new)
    return new.id


async def reward_model(service: Service, weights: str = "reward", **changes: Any) -> str:
    """The id of a finished training of kind reward."""
    training_id = await queued(service, "reward", **changes)
    await ended(service, weights)
    return training_id


async def prompting(service: Service, rows: int = 12, **changes: Any) -> str:
    """The id of a finished job with a row for each of so many questions."""
    given = [{"question": f"What is {number}?", "topic": "numbers", "gold": "yes"} for number in range(rows)]
    task = {"template": "Is {question} hard? It is", "labels": ["Yes", "No"], "gold_field": "gold"}
    job = await service.labelled(given, task=task, method="zero_shot", **changes)
    job_id: str = job["id"]
    return job_id


def body(job_id: str, policy: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"kind": "policy", "job_ids": [job_id], "rows": {"holdout": 0.25}, "policy": policy, **changes}


async def asked(service: Service, job_id: str, policy: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A policy's training that was just taken in."""
    answer = await service.client.post("/v1/trainings", json=body(job_id, policy, **changes))
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def ordered(service: Service) -> TrainingOrder:
    """What a worker is told of the next training."""
    work = await claimed(service)
    async with service.store.worker_unit() as unit:
        return await unit.trainings.order(work.lease)


async def test_prompts_are_the_rows_as_the_job_scored_them_without_labels_and_gold(service: Service) -> None:
    job_id = await prompting(service)
    made = await asked(service, job_id, {"reward": await reward_model(service)})
    assert (made["rows"], made["base"]) == (12, "default")
    stored = await examples(service, made["id"])
    assert [row.keys() for row in stored] == [{"prompt", "group", "id"}] * 12
    assert stored[3]["prompt"] == "Is What is 3? hard? It is"


async def test_a_prompt_of_its_own_stands_as_it_was_written_and_each_once(service: Service) -> None:
    jobs = [await prompting(service), await prompting(service, 14)]
    policy = {"reward": await reward_model(service), "prompt": "{question}\n"}
    made = await asked(service, jobs[0], policy, job_ids=jobs)
    stored = await examples(service, made["id"])
    assert [row["prompt"] for row in stored] == [f"What is {number}?\n" for number in range(14)]
    assert "12 rows were left out, since an earlier row has the same prompt" in made["warnings"]


async def test_a_workers_order_names_both_reward_models_and_no_path(service: Service) -> None:
    reward, judge = await reward_model(service), await reward_model(service, "judge")
    await asked(service, await prompting(service), {"reward": reward, "judge": judge, "stop": "\n"}, seed=3)
    order = await ordered(service)
    assert order.spec == {
        "kind": "policy",
        "method": "lora",
        "rank": 16,
        "epochs": 3,
        "learning_rate": None,
        "controls": [],
        "seed": 3,
        "holdout": 0.25,
        "weights": "none",
        "policy": {
            "reward": reward,
            "judge": judge,
            "completions": 4,
            "completion_tokens": 64,
            "stop": "\n",
            "kl_weight": 0.05,
            "kl_limit": 10.0,
        },
    }
    assert {model.training_id: model.manifest for model in order.models} == {reward: MANIFEST, judge: MANIFEST}
    stored = await service.artifacts.stored()
    assert all(model.sha256 in stored[model.training_id] for model in order.models)


async def test_the_training_the_list_and_the_report_give_its_lineage(service: Service) -> None:
    reward, judge, job_id = await reward_model(service), await reward_model(service, "judge"), await prompting(service)
    made = await asked(service, job_id, {"reward": reward, "judge": judge})
    await ended(service, "policy", REPORT)
    here = made["links"]["self"]
    listed = (await service.client.get("/v1/trainings")).json()["data"]
    told = [(await service.client.get(path)).json() for path in (here, f"{here}/report")]
    for found in (made, listed[0], *told):
        assert found["lineage"] == {
            "jobs": [job_id],
            "reward": reward,
            "judge": judge,
            "reward_jobs": listed[-1]["config"]["job_ids"],
            "judge_jobs": listed[-2]["config"]["job_ids"],
        }
    nothing = dict.fromkeys(("reward", "judge", "reward_jobs", "judge_jobs"))
    assert listed[-1]["lineage"] == {"jobs": listed[-1]["config"]["job_ids"], **nothing}


async def test_a_reward_model_that_gives_no_rewards_is_refused_by_its_field(service: Service) -> None:
    job_id, label = await prompting(service), await queued(service, "label")
    await ended(service, "label")
    waiting, stopped = [await queued(service, "reward") for _ in range(2)]
    await service.client.post(f"/v1/trainings/{stopped}/cancel")
    for training_id, told in (
        (label, f"the training {label} is of kind label, which predicts labels; name one of kind reward"),
        (waiting, f"the training {waiting} is queued; it can be used once it has succeeded"),
        (stopped, f"the training {stopped} is cancelled; name one that has succeeded"),
        (job_id, f"there is no training {job_id!r}: {FORM}"),
    ):
        faults = await refusal(service, **body(job_id, {"reward": training_id, "judge": training_id + " "}))
        assert {fault["field"]: fault["message"] for fault in faults} == {
            "policy.reward": told,
            "policy.judge": f"there is no training '{training_id} ': {FORM}",
        }
    assert len(await service.artifacts.stored()) == 1, "nothing of what was refused is stored"


async def test_a_reward_model_of_others_or_deleted_is_as_unknown_as_one_that_never_was(service: Service) -> None:
    theirs, deleted = await reward_model(service), await reward_model(service)
    await service.client.delete(f"/v1/trainings/{deleted}")
    stranger = await service.member("others")
    task = {"template": "Is {question} hard? It is", "labels": ["Yes", "No"]}
    given = {"config": {**CONFIG, "task": task}, "examples": [{"question": f"{number}"} for number in range(12)]}
    job_id = (await stranger.post("/v1/jobs", json=given)).json()["id"]
    await service.work()
    for training_id in (theirs, deleted, "train_" + "0" * 32):
        answer = await stranger.post("/v1/trainings", json=body(job_id, {"reward": training_id}))
        [fault] = answer.json()["errors"]
        told = f"there is no training {training_id!r}; it was deleted, or the project never had it"
        assert (fault["field"], fault["message"]) == ("policy.reward", told)


async def test_a_judge_with_the_weights_of_the_reward_model_is_no_second_one(service: Service) -> None:
    reward, twin, job_id = await reward_model(service), await reward_model(service), await prompting(service)
    [fault] = await refusal(service, **body(job_id, {"reward": reward, "judge": twin}))
    assert (fault["field"], "has the same weights" in fault["message"]) == ("policy.judge", True)
    [fault] = await refusal(service, **body(job_id, {"reward": reward, "judge": reward}))
    assert (fault["field"], "is the reward model itself" in fault["message"]) == ("policy.judge", True)


async def test_adapters_of_another_base_are_refused_and_whole_models_are_not(service: Service) -> None:
    job_id, reward = await prompting(service), await reward_model(service)
    other, full = [await reward_model(service, name, base="other", method=name) for name in ("lora", "full")]
    [fault] = await refusal(service, **body(job_id, {"reward": reward, "judge": other}))
    assert fault["field"] == "policy.judge"
    assert "is an adapter of the base 'other', and the policy starts from 'default'" in fault["message"]
    [fault] = await refusal(service, **body(job_id, {"reward": other, "judge": full}, base="default"))
    assert fault["field"] == "policy.reward"
    assert (await asked(service, job_id, {"reward": reward, "judge": full}))["base"] == "default"
    assert (await asked(service, job_id, {"reward": other, "judge": full}))["base"] == "other"
    [fault] = await refusal(service, **body(job_id, {"reward": reward}, base="none"))
    assert (fault["field"], "there is no language model 'none'" in fault["message"]) == ("base", True)


async def test_two_names_of_one_base_are_one_base(service: Service) -> None:
    reward = await reward_model(service, base="alias")
    assert (await asked(service, await prompting(service), {"reward": reward}, base="default"))["base"] == "default"


async def test_rows_that_make_no_prompts_are_refused_by_field(service: Service) -> None:
    few, enough = [await prompting(service, rows) for rows in (9, 12)]
    reward = await reward_model(service)
    for job_id, prompt, holdout, field, told in (
        (enough, "{qestion}", 0.25, "policy.prompt", "no column 'qestion' (did you mean 'question'?); it has"),
        (enough, "{gold}", 0.25, "policy.prompt", "holds gold, which only reports may read"),
        (enough, "{topic}:", 0.25, "rows.holdout", "no group of related rows fits into 0.25 of 1 row:"),
        (few, None, 0.25, "job_ids", "of 9 distinct prompts 7 are left to train on, and a step reads 8; give jobs"),
        (enough, None, 0.01, "rows.holdout", "fits into 0.01 of 12 rows: the smallest has 1; give a larger share"),
        (enough, "{topic} {{question}}", 0.25, "policy.prompt", "write {question}, with single braces"),
        (enough, "{question", 0.25, "policy.prompt", "the { at character 1 stands alone"),
    ):
        policy = {"reward": reward, "prompt": prompt}
        [fault] = await refusal(service, **body(job_id, policy, rows={"holdout": holdout}))
        assert (fault["field"], told in fault["message"]) == (field, True), fault


async def test_a_job_that_has_not_ended_gives_no_prompts(service: Service) -> None:
    queued, reward = (await service.post())["id"], "train_" + "0" * 32
    faults = await refusal(service, **body(queued, {"reward": reward}))
    assert [fault["field"] for fault in faults] == ["policy.reward", "job_ids.0"]
    assert "its prompts can be learned once it has succeeded" in faults[1]["message"]


async def test_labels_that_should_not_be_used_forbid_no_prompts(service: Service) -> None:
    jobs = []
    for first in (0, 4, 8):
        rows = [{**row, "a": first + number, "b": number} for number, row in enumerate(pairs(4))]
        jobs.append((await service.labelled(rows, task={**CONFIG["task"], "relations": []}))["id"])
    assert "do_not_use" in [(await service.get(job_id, "/report"))["verdict"] for job_id in jobs]
    assert (await asked(service, "", {"reward": await reward_model(service)}, job_ids=jobs))["rows"] == 12


async def test_what_makes_a_policy_doubtful_is_warned_of(service: Service) -> None:
    within = {"kind": "antisymmetric", "first": "a", "second": "b", "group": ["topic"]}
    job = await service.labelled(
        [{**row, "topic": "t"} for row in pairs(24)], task={**CONFIG["task"], "relations": [within]}, method="zero_shot"
    )
    reward, judge = [await reward_model(service, name) for name in "ab"]
    [no_judge, comparing] = (await asked(service, job["id"], {"reward": reward}))["warnings"]
    assert "no win rate is measured" in no_judge
    assert f"questions of job {job['id']} about two texts" in comparing
    assert 'policy.prompt "{topic}\\n" gives the text' in comparing
    rows = [{"n": number, "question": f"{number}" if number < 12 else None} for number in range(14)]
    job = await service.labelled(rows, task={"template": "{n} is"}, method="zero_shot")
    policy = {"reward": reward, "judge": judge, "prompt": "{question} "}
    [same, space, blank] = (await asked(service, job["id"], policy))["warnings"]
    assert "learned from the same job (job_0)" in same
    assert "ends with a space" in space
    assert blank.startswith("2 rows were left out, since a column that policy.prompt reads is empty")


async def test_an_estimate_counts_completions_and_goes_by_policies_alone(service: Service) -> None:
    job_id, reward = await prompting(service), await reward_model(service)
    policy = {"reward": reward, "completions": 2, "completion_tokens": 100}
    wanted = body(job_id, policy, epochs=3)
    found = (await service.client.post("/v1/trainings/estimate", json=wanted)).json()
    assert (found["rows"], found["held_out"], found["measured_by"], found["seconds"]) == (12, 3, None, None)
    least = 3 * 8 * 2 * 100  # epochs, prompts in whole steps, completions, tokens
    assert least < found["tokens"] < 1.5 * least
    made = await asked(service, job_id, policy)
    await ended(service, "policy", REPORT)
    found = (await service.client.post("/v1/trainings/estimate", json=wanted)).json()
    assert (found["measured_by"], found["memory_bytes"]) == (made["id"], 2_000_000_000)
    assert found["seconds"] == pytest.approx(found["tokens"] / 50)
    assert "no win rate is measured" in found["warnings"][0]


async def test_a_reward_model_or_judge_is_not_deleted_while_a_policy_needs_it(service: Service) -> None:
    reward, judge = await reward_model(service), await reward_model(service, "judge")
    made = await asked(service, await prompting(service), {"reward": reward, "judge": judge})
    for state in ("queued", "paused"):
        for model in (reward, judge):
            answer = await service.client.delete(f"/v1/trainings/{model}")
            assert (answer.status_code, answer.json()["type"]) == (409, "urn:icm:problem:wrong-state"), state
            assert f"of training {made['id']}, which has not ended; wait for its end" in answer.json()["detail"]
        await service.client.post(f"{made['links']['self']}/pause")
    assert JobId(reward) in await service.artifacts.stored()
    await service.client.post(f"{made['links']['self']}/cancel")
    lineage = made["lineage"]
    assert (lineage["reward"], bool(lineage["reward_jobs"])) == (reward, True)
    assert (await service.client.delete(f"/v1/trainings/{reward}")).status_code == 204
    assert (await service.client.get(made["links"]["self"])).json()["lineage"] == lineage


async def test_the_same_request_with_the_same_key_is_the_same_policy(service: Service) -> None:
    wanted = body(await prompting(service), {"reward": await reward_model(service)})
    key = {"Idempotency-Key": "once"}
    first, second = [await service.client.post("/v1/trainings", json=wanted, headers=key) for _ in range(2)]
    assert first.json()["id"] == second.json()["id"]
    other = {**wanted, "policy": {**wanted["policy"], "kl_limit": 3}}
    assert (await service.client.post("/v1/trainings", json=other, headers=key)).status_code == 422


async def page(service: Service, here: str) -> str:
    answer = await service.client.get(f"{here}/report", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Vary"]) == (200, "Accept")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    return answer.text


async def test_the_page_shows_curves_win_rate_warnings_and_samples_as_text(service: Service) -> None:
    reward, judge = await reward_model(service), await reward_model(service, "judge")
    made = await asked(service, await prompting(service), {"reward": reward, "judge": judge})
    await ended(service, "policy", REPORT)
    shown = await page(service, made["links"]["self"])
    for told in (reward, judge, made["id"], "judge_disagrees", "prefers the base", "fell", "limit 10.0", "107", "Look"):
        assert told in shown, told
    assert re.search(r"<b>7.%</b><span>win rate", shown)
    assert [shown.count(f"<b>{name}</b>") for name in ("reward", "KL divergence from the base")] == [1, 1]
    assert "<script>" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown


async def test_a_page_shows_what_there_is_of_other_kinds_and_of_reports_that_lack_it(service: Service) -> None:
    label = f"/v1/trainings/{await queued(service, 'label')}"
    facts = {"epochs": [{"epoch": 1.0, "held_out": {"agreement": 0.875}}], "loss": [[1, 0.7], [2, 0.1]]}
    control = {"shuffled": {"epochs": [{"epoch": 1.0, "held_out": {"agreement": 0.5}}]}}
    before = {"zero_shot": {"agreement": 0.25}, "calibrated": {}}
    await ended(service, "label", {"kind": "label", "before": before, "training": facts, "controls": control})
    shown = await page(service, label)
    assert all(told in shown for told in ("0.875", "0.250", "control shuffled", "0.500", "<b>loss</b>"))
    assert "win rate" not in shown
    bare = await reward_model(service)
    assert bare in await page(service, f"/v1/trainings/{bare}")


async def test_the_page_of_a_reward_model_shows_its_biases_and_its_calibration(service: Service) -> None:
    length = {"longer_chosen": 0.75, "accuracy_where_longer_is_right": 0.912, "accuracy_where_shorter_is_right": 0.431}
    bins = [{"from": 0.9, "rows": 17, "predicted": 0.951, "right": 0.824}]
    held_out = {"accuracy": 0.8, "length": length, "position": {"first_chosen": None}}
    held_out["calibration"] = {"error": 0.127, "bins": bins}
    reward = await queued(service, "reward")
    await ended(service, "reward", {"kind": "reward", "training": {"epochs": [{"epoch": 1.0, "held_out": held_out}]}})
    shown = await page(service, f"/v1/trainings/{reward}")
    assert all(figure in shown for figure in ("0.750", "0.912", "0.431", "0.127", "0.951", "0.824"))
    assert "first text" not in shown, "its order was unknown"
    bare = await reward_model(service, "bare")
    assert not {"<h2>Biases</h2>", "<h2>Calibration</h2>"} & set(
        re.findall("<h2>.*</h2>", await page(service, f"/v1/trainings/{bare}"))
    )
