"""From a finished job to a trained adapter: API, queue, worker, the command itself, and the download."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from icm.data.archives import unpack
from inference.settings import SMALL_MODEL
from service.bootstrap import build_application
from service.identifiers import WorkerId
from service.records.work import WorkKind
from service.settings import Settings
from tests.support.running.harness import Service, pairs
from tests.support.stores import ScratchStore
from workers.worker import Worker

ROWS = {"statuses": ["labeled", "uncertain"], "holdout": 0.25}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    store = ScratchStore()
    training = {"bases": {"default": str(SMALL_MODEL)}, "device": "cpu"}
    service = Service(store, settings=Settings.model_validate({"data_dir": tmp_path, "training": training}))
    async with service.client:
        yield service
    await store.close()


async def test_labels_of_a_job_become_an_adapter(service: Service, tmp_path: Path) -> None:
    job = await service.labelled(pairs(16))
    asked = {"job_ids": [job["id"]], "force": True, "epochs": 1, "rank": 2, "rows": ROWS}
    made = (await service.client.post("/v1/trainings", json=asked)).json()
    application = build_application(service.settings, store=service.store)
    assert await Worker(application, WorkerId("trainer"), kinds=(WorkKind.TRAIN,)).work_once()
    here = made["links"]["self"]
    training = (await service.client.get(here)).json()
    assert (training["status"], training["error"]) == ("succeeded", None)
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


def check_report(found: dict[str, Any]) -> None:
    manifest, report = found["manifest"], found["report"]
    assert (manifest["settings"]["epochs"], manifest["settings"]["rank"]) == (1, 2)
    assert (report["rows"]["trained"], report["rows"]["held_out"]) == (12, 4)
    assert report["training"]["steps"] == 2
