"""Whoever asks for a training is told where its base is not the language model that labelled the job."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.records.scoring import BackendIdentity
from service.records.work import WorkStatus
from service.scoring.deterministic import DeterministicScorer
from service.settings import Settings
from service.training_process.bases import fingerprint_of
from tests.support.running.harness import Service
from tests.support.stores import ScratchStore
from tests.unit.api.test_trainings import HOLDOUT, REPORT, claimed


class Embedded(DeterministicScorer):
    """Says of itself what an embedded server with these files would."""

    def __init__(self) -> None:
        super().__init__()
        self.revision = ""

    async def identify(self) -> BackendIdentity:
        return BackendIdentity(f"embedded|small|{self.revision}|0.1")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "config.json").write_text("{}")
    store = ScratchStore()
    training = {"bases": {"default": str(tmp_path / "small")}}
    settings = Settings.model_validate({"data_dir": tmp_path, "training": training})
    service = Service(store, backend=Embedded(), settings=settings)
    async with service.client:
        yield service
    await store.close()


async def warnings(service: Service, revision: str) -> list[list[str]]:
    """What the answer, the training as it is read, and an estimate warn of."""
    assert isinstance(service.backend, Embedded)
    service.backend.revision = revision
    job = await service.labelled(method="zero_shot")
    body = {"job_ids": [job["id"]], "force": True, "rows": HOLDOUT}
    made = await service.client.post("/v1/trainings", json=body)
    assert made.status_code == 202, made.text
    read = await service.client.get(made.json()["links"]["self"])
    estimated = await service.client.post("/v1/trainings/estimate", json=body)
    told: list[Any] = [made.json(), read.json(), estimated.json()]
    return [one["warnings"] for one in told]


async def test_the_language_model_that_labelled_the_job_is_trained_without_a_warning(
    service: Service, tmp_path: Path
) -> None:
    assert await warnings(service, fingerprint_of(tmp_path / "small")) == [[], [], []]


async def test_another_language_model_is_trained_with_a_warning(service: Service, tmp_path: Path) -> None:
    first, *others = await warnings(service, "b" * 64)
    [warning] = first
    assert "the base 'default' ('small'," in warning
    assert "is not 'small', bbbbbbbbbbbb" in warning
    assert str(tmp_path) not in warning
    assert others == [first, first]


async def test_a_base_that_only_workers_can_read_is_left_to_them(service: Service, tmp_path: Path) -> None:
    (tmp_path / "small" / "config.json").unlink()
    assert await warnings(service, "b" * 64) == [[], [], []]


async def test_the_report_repeats_the_warning(service: Service, tmp_path: Path) -> None:
    first, *_ = await warnings(service, "b" * 64)
    work = await claimed(service)
    artifact = await service.artifacts.put(work.lease.job_id, tmp_path / "small")
    async with service.store.worker_unit() as unit:
        await unit.trainings.finish(work.lease, artifact, manifest={}, report=REPORT)
        await unit.work.finish(work.lease, WorkStatus.SUCCEEDED, summary={})
    report = (await service.client.get(f"/v1/trainings/{work.lease.job_id}/report")).json()
    assert report["warnings"] == first
