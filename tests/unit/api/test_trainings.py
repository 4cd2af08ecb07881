"""Trainings over HTTP: made of finished jobs, controlled like jobs, and downloaded."""

import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.artifacts.file_systems import FileSystemArtifacts
from service.identifiers import JobId, WorkerId
from service.records.work import ClaimedWork, WorkKind, WorkStatus
from service.settings import Settings
from service.trainings.sweep import ArtifactSweep
from tests.support.running.harness import CONFIG, Service, pairs
from tests.support.stores import ScratchStore

WORKER = WorkerId("trainer")
HOLDOUT = {"holdout": 0.25}  # of 8 rows in pairs; the default of 0.1 holds none of them
REPORT = {
    "kind": "label",
    "training": {"tokens_per_second": 50.0, "peak_memory": {"bytes": 1000, "gpu_bytes": None}},
}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    store = ScratchStore()
    settings = Settings.model_validate({"data_dir": tmp_path, "training": {"bases": {"default": "a-model"}}})
    service = Service(store, settings=settings)
    async with service.client:
        yield service
    await store.close()


async def trained(service: Service, job_ids: list[str] | None = None, **changes: Any) -> dict[str, Any]:
    """A training that was just made, by default of a new finished job."""
    job_ids = [(await service.labelled(method="zero_shot"))["id"]] if job_ids is None else job_ids
    body = {"job_ids": job_ids, "force": True, "rows": HOLDOUT, **changes}
    answer = await service.client.post("/v1/trainings", json=body)
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def refusal(service: Service, **body: Any) -> list[dict[str, Any]]:
    answer = await service.client.post("/v1/trainings", json={"force": True, **body})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    faults: list[dict[str, Any]] = answer.json()["errors"]
    return faults


async def examples(service: Service, training_id: str) -> list[dict[str, Any]]:
    """The rows as they are stored for the worker."""
    artifacts = service.artifacts
    [sha256] = (await artifacts.stored())[JobId(training_id)]
    content = b"".join([part async for part in artifacts.read(JobId(training_id), sha256, "examples.jsonl")])
    return [json.loads(line) for line in content.splitlines()]


async def claimed(service: Service) -> ClaimedWork:
    async with service.store.worker_unit() as unit:
        work = await unit.work.claim((WorkKind.TRAIN,), WORKER, 60.0)
    assert work is not None
    return work


async def finished(service: Service, folder: Path) -> dict[str, Any]:
    """A training that a worker has finished with two files."""
    made = await trained(service)
    work = await claimed(service)
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"w" * 700)
    artifact = await service.artifacts.put(work.lease.job_id, folder / "adapter")
    async with service.store.worker_unit() as unit:
        await unit.trainings.finish(work.lease, artifact, manifest={"format": 1}, report=REPORT)
        await unit.work.finish(work.lease, WorkStatus.SUCCEEDED, summary={})
    return made


async def test_a_training_has_the_rows_of_a_finished_job(service: Service) -> None:
    job = await service.labelled()
    rows = {"statuses": ["labeled", "uncertain"], "holdout": 0.25}
    body = {"job_ids": [job["id"]], "force": True, "epochs": 2, "rows": rows}
    answer = await service.client.post("/v1/trainings", json=body)
    assert answer.status_code == 202
    made = answer.json()
    assert answer.headers["location"] == made["links"]["self"] == f"/v1/trainings/{made['id']}"
    assert (made["object"], made["status"], made["base"], made["rows"]) == ("training", "queued", "default", 8)
    assert made["config"]["epochs"] == 2
    stored = await examples(service, made["id"])
    labels = (await service.get(job["id"], "/labels"))["data"]
    for row, example, found in zip(pairs(8), stored, labels, strict=True):
        assert example["prompt"] == f"Is {row['a']} larger than {row['b']}? It is"
        assert (example["label"], example["gold"]) == (found["icm_label"], row["gold"].capitalize())
    assert [example["group"] for example in stored] == [f"0:{number // 2}" for number in range(8)]


async def test_permuting_gold_changes_only_gold(service: Service) -> None:
    stored = []
    for flip in (False, True):
        rows = [{**row, "gold": {"yes": "no", "no": "yes"}[row["gold"]] if flip else row["gold"]} for row in pairs(8)]
        job = await service.labelled(rows, method="zero_shot")
        answer = await service.client.post(
            "/v1/trainings", json={"job_ids": [job["id"]], "force": True, "rows": HOLDOUT}
        )
        stored.append(await examples(service, answer.json()["id"]))
    first, second = stored
    assert [row["gold"] for row in first] != [row["gold"] for row in second]
    assert [{**row, "gold": ""} for row in first] == [{**row, "gold": ""} for row in second]


async def test_a_workers_order_has_no_path(service: Service) -> None:
    await trained(service, seed=3, learning_rate=0.01)
    work = await claimed(service)
    async with service.store.worker_unit() as unit:
        order = await unit.trainings.order(work.lease)
    assert order.base == "default"
    assert order.spec == {
        "kind": "label",
        "method": "lora",
        "rank": 16,
        "epochs": 3,
        "learning_rate": 0.01,
        "controls": [],
        "seed": 3,
        "holdout": 0.25,
        "weights": "none",
        "labels": ["Yes", "No"],
        "separator": "\n\n",
    }


async def test_an_estimate_counts_and_stores_nothing(service: Service) -> None:
    job = await service.labelled()
    body = {"job_ids": [job["id"]], "force": True, "epochs": 2, "rows": {"holdout": 0.25}}
    found = (await service.client.post("/v1/trainings/estimate", json=body)).json()
    assert (found["base"], found["rows"], found["left_out"], found["held_out"]) == ("default", 6, 2, 2)
    assert found["tokens"] > 2 * 4 * 5
    assert (found["seconds"], found["memory_bytes"], found["measured_by"]) == (None, None, None)
    assert await service.artifacts.stored() == {}
    refused = await service.client.post("/v1/trainings/estimate", json={**body, "base": "other"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "base")


async def test_an_estimate_uses_a_comparable_training(service: Service, tmp_path: Path) -> None:
    made = await finished(service, tmp_path)
    body = {"job_ids": made["config"]["job_ids"], "force": True, "rows": HOLDOUT}
    found = (await service.client.post("/v1/trainings/estimate", json=body)).json()
    assert found["measured_by"] == made["id"]
    assert found["seconds"] == pytest.approx(found["tokens"] / 50)
    assert found["memory_bytes"] == 1000
    other = (await service.client.post("/v1/trainings/estimate", json={**body, "method": "full"})).json()
    assert other["measured_by"] is None


async def test_the_same_idempotency_key_gives_the_same_training(service: Service) -> None:
    job = await service.labelled(method="zero_shot")
    body = {"job_ids": [job["id"]], "force": True, "rows": HOLDOUT}
    key = {"Idempotency-Key": "once"}
    first, second = [await service.client.post("/v1/trainings", json=body, headers=key) for _ in range(2)]
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotency-replayed"] == "true"
    assert len(await service.artifacts.stored()) == 1
    other = await service.client.post("/v1/trainings", json={**body, "epochs": 9}, headers=key)
    assert (other.status_code, other.json()["type"]) == (422, "urn:icm:problem:idempotency-mismatch")


async def test_jobs_at_fault_are_named(service: Service) -> None:
    queued, unknown = await service.post(), "job_" + "0" * 32
    foreign = (
        await (await service.member("others")).post("/v1/jobs", json={"config": CONFIG, "examples": pairs(4)})
    ).json()
    faults = await refusal(service, job_ids=[queued["id"], unknown, foreign["id"], "x"])
    assert [fault["field"] for fault in faults] == ["job_ids.0", "job_ids.1", "job_ids.2", "job_ids.3"]
    assert f"{queued['id']} is queued" in faults[0]["message"]
    assert all("there is no job" in fault["message"] for fault in faults[1:])
    assert await service.artifacts.stored() == {}


async def test_jobs_with_different_labels_are_not_trained_on_together(service: Service) -> None:
    first = await service.labelled(method="zero_shot")
    task = {**CONFIG["task"], "labels": ["yes!", "no!"], "gold_values": {"yes": "yes!", "no": "no!"}}
    second = await service.labelled(task=task, method="zero_shot")
    [fault] = await refusal(service, job_ids=[first["id"], second["id"]], rows=HOLDOUT)
    assert fault["field"] == "job_ids.1"
    assert "its task.labels is ['yes!', 'no!']" in fault["message"]
    assert first["id"] in fault["message"]


async def test_labels_with_verdict_do_not_use_are_learned_only_with_force(service: Service) -> None:
    rows = [{**row, "a": number, "b": number} for number, row in enumerate(pairs(4))]
    task = {**CONFIG["task"], "relations": []}
    job = await service.labelled(rows, task=task)
    assert (await service.get(job["id"], "/report"))["verdict"] == "do_not_use"
    [fault] = await refusal(service, job_ids=[job["id"]], force=False)
    assert fault["field"] == "job_ids.0"
    assert "says do_not_use" in fault["message"]
    assert "force" in fault["message"]


async def test_unusable_requests_are_refused_by_field(service: Service) -> None:
    job = await service.labelled()
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"rows": {"min_confidence": 1}}, "rows", "no rows are left to learn from: 6 rows"),
        ({"rows": {"holdout": 0.01}}, "rows.holdout", "no group of related rows fits"),
        ({"base": "other"}, "base", "there is no language model 'other'"),
        ({"base": "Defualt"}, "base", "(did you mean 'default'?); there are default, which the operator names in"),
        ({"epoch": 3}, "epoch", "did you mean 'epochs'?"),
        ({"kind": "ppo"}, "kind", "must be one of"),
    ]
    for body, field, told in cases:
        [fault] = await refusal(service, job_ids=[job["id"]], **body)
        assert fault["field"] == field, body
        assert told in fault["message"], body
    assert await service.artifacts.stored() == {}


async def test_a_rank_without_effect_gets_a_warning(service: Service) -> None:
    told = "rank has no effect with method full, which trains all weights"
    made = await trained(service, method="full", rank=8)
    assert made["warnings"] == [told]
    assert (await trained(service, made["config"]["job_ids"], method="full"))["warnings"] == []


async def test_an_unreachable_artifact_store_is_reported_without_its_address(service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    job = await service.labelled(method="zero_shot")
    service.artifacts = FileSystemArtifacts(str(tmp_path / "file"))
    answer = await service.client.post("/v1/trainings", json={"job_ids": [job["id"]], "force": True, "rows": HOLDOUT})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:icm:problem:artifacts-unavailable")
    assert str(tmp_path) not in answer.text
    assert "the log has the reason" in answer.json()["detail"]
    assert (await service.client.get("/v1/trainings")).json()["data"] == []


async def test_without_a_base_nothing_can_be_trained(service: Service) -> None:
    job = await service.labelled(method="zero_shot")
    service.settings = Settings(data_dir=service.settings.data_dir)
    [fault] = await refusal(service, job_ids=[job["id"]])
    assert "ICM_TRAINING__BASES" in fault["message"]


async def test_gold_is_needed_for_controls_by_gold(service: Service) -> None:
    job = await service.labelled([{**row, "gold": None} for row in pairs(8)], method="zero_shot")
    [fault] = await refusal(service, job_ids=[job["id"]], controls=["noise"], rows=HOLDOUT)
    assert (fault["field"], "noise needs a gold label for every row" in fault["message"]) == ("controls", True)


async def test_comparisons_make_pairs_for_a_reward_model(service: Service) -> None:
    rows = {"statuses": ["labeled", "uncertain"], "holdout": 0.25}
    made = await trained(service, [(await service.labelled())["id"]], kind="reward", rows=rows)
    stored = await examples(service, made["id"])
    assert 0 < made["rows"] == len(stored) <= 4
    assert all(pair["chosen"] != pair["rejected"] for pair in stored)


async def test_a_job_without_comparisons_makes_no_reward_model(service: Service) -> None:
    job = await service.labelled(task={**CONFIG["task"], "relations": []}, method="zero_shot")
    [fault] = await refusal(service, job_ids=[job["id"]], kind="reward")
    assert (fault["field"], "compares nothing" in fault["message"]) == ("job_ids.0", True)


async def test_a_training_pauses_resumes_and_is_cancelled(service: Service) -> None:
    made = await trained(service)
    here = made["links"]["self"]
    for what, status in (("pause", "paused"), ("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        answer = await service.client.post(f"{here}/{what}")
        assert (answer.status_code, answer.json()["status"]) == (202, status)
    assert (await service.client.post(f"{here}/pause")).status_code == 409
    told = (await service.client.get(f"{here}/events", headers={"Accept": "application/json"})).json()["data"]
    happened = ["created", "paused", "resumed", "cancel_requested", "cancelled"]
    assert [event["type"] for event in told] == [f"job.{what}" for what in happened]
    stream = (await service.client.get(f"{here}/events")).text
    assert stream.count("\nevent:") + stream.startswith("event:") == len(told)


async def test_a_training_that_has_not_ended_is_not_deleted(service: Service) -> None:
    made = await trained(service)
    assert (await service.client.delete(made["links"]["self"])).status_code == 409
    assert len(await service.artifacts.stored()) == 1


async def test_the_adapter_is_downloaded_as_an_archive(service: Service, tmp_path: Path) -> None:
    made = await finished(service, tmp_path)
    here = made["links"]["self"]
    training = (await service.client.get(here)).json()
    assert training["status"] == "succeeded"
    assert training["artifact"]["bytes"] == 702
    answer = await service.client.get(f"{here}/adapter")
    assert answer.headers["content-type"] == "application/x-tar"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["etag"] == f'"{training["artifact"]["sha256"]}"'
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        assert archive.getnames() == ["adapter_config.json", "adapter_model.safetensors"]
        weights = archive.extractfile("adapter_model.safetensors")
        assert weights is not None
        assert weights.read() == b"w" * 700
    report = (await service.client.get(f"{here}/report")).json()
    assert (report["training_id"], report["manifest"], report["report"]["kind"]) == (made["id"], {"format": 1}, "label")


async def test_before_its_end_a_training_has_neither_report_nor_adapter(service: Service) -> None:
    here = (await trained(service))["links"]["self"]
    for what in ("report", "adapter"):
        answer = await service.client.get(f"{here}/{what}")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:icm:problem:training-not-finished")


async def test_deleting_a_training_removes_its_files(service: Service, tmp_path: Path) -> None:
    made = await finished(service, tmp_path)
    assert (await service.client.delete(made["links"]["self"])).status_code == 204
    assert await service.artifacts.stored() == {}
    assert (await service.client.get(made["links"]["self"])).status_code == 404


async def test_the_sweep_keeps_only_the_artifact_of_an_ended_training(service: Service, tmp_path: Path) -> None:
    made = await finished(service, tmp_path)
    training_id = JobId(made["id"])
    waiting = JobId((await trained(service, made["config"]["job_ids"]))["id"])
    orphan = await service.artifacts.put(JobId("train_0"), tmp_path / "adapter")
    before = await service.artifacts.stored()
    sweep = ArtifactSweep(service.store, service.artifacts)
    assert await sweep.run_once() == 0, "whoever is about to name files has the time between two looks"
    assert await service.artifacts.stored() == before
    assert await sweep.run_once() == 2
    kept = await service.artifacts.stored()
    assert kept == {training_id: {orphan.sha256}, waiting: before[waiting]}


async def test_trainings_are_listed_apart_from_jobs_and_page_by_page(service: Service) -> None:
    job = await service.labelled(method="zero_shot")
    made = [await trained(service, [job["id"]]) for _ in range(3)]
    first = (await service.client.get("/v1/trainings", params={"limit": 2})).json()
    assert [one["id"] for one in first["data"]] == [made[2]["id"], made[1]["id"]]
    rest = (await service.client.get("/v1/trainings", params={"cursor": first["next_cursor"]})).json()
    assert [one["id"] for one in rest["data"]] == [made[0]["id"]]
    assert [job["id"] for job in (await service.client.get("/v1/jobs")).json()["data"]] == [job["id"]]
    assert (await service.client.get("/v1/trainings", params={"status": "failed"})).json()["data"] == []


async def test_a_training_is_no_job_and_a_job_no_training(service: Service) -> None:
    made = await trained(service)
    job = (await service.client.get("/v1/jobs")).json()["data"][0]
    assert (await service.client.get(f"/v1/jobs/{made['id']}")).status_code == 404
    assert (await service.client.get(f"/v1/trainings/{job['id']}")).status_code == 404
    faults = await refusal(service, job_ids=[made["id"]])
    assert f"{made['id']} is the id of a training, which has no labels; name the jobs" in faults[0]["message"]


async def test_files_count_towards_the_quota_of_bytes(service: Service) -> None:
    await trained(service)
    size = sum(path.stat().st_size for path in service.settings.data_dir.rglob("examples.jsonl"))
    jobs_bytes = sum(len(json.dumps(row, separators=(",", ":"))) for row in pairs(8))
    limit = size + 2 * jobs_bytes
    service.settings = Settings.model_validate(
        {**service.settings.model_dump(include={"data_dir", "training"}), "quota": {"bytes": limit}}
    )
    job = (await service.client.get("/v1/jobs")).json()["data"][0]
    answer = await service.client.post("/v1/trainings", json={"job_ids": [job["id"]], "force": True, "rows": HOLDOUT})
    assert (answer.status_code, answer.json()["quota"]["quota"]) == (403, "bytes")
    assert len(await service.artifacts.stored()) == 1
