"""The corpus through the real application: what is healthy comes back as it was, of the rest nothing is kept."""

from typing import Any

import httpx
import orjson
import pytest

from service.settings import Settings, UploadSettings
from tests.hostile.case import Case
from tests.hostile.corpus import CORPUS
from tests.support.stores import ScratchStore, row_counts
from tests.unit.api.harness import Service

FOUND = ("icm_label", "icm_confidence", "icm_margin", "icm_status")
PROBLEM = "application/problem+json"


# The corpus' bombs are small ones, since they are made anew in every run.
SETTINGS = Settings(upload=UploadSettings(max_parquet_memory_bytes=128_000_000))


def named(case: Case) -> str:
    return case.name


async def sent(service: Service, case: Case) -> httpx.Response:
    return await service.client.post("/v1/jobs", content=case.body(), headers=dict(case.headers))


def test_the_corpus_is_large_and_its_names_differ() -> None:
    names = [case.name for case in CORPUS]
    assert len(set(names)) == len(names)
    assert len(names) >= 60


@pytest.mark.parametrize("case", [case for case in CORPUS if not case.is_accepted], ids=named)
async def test_what_cannot_be_used_is_refused_with_its_place_and_not_kept(case: Case) -> None:
    store = ScratchStore()
    service = Service(store, settings=SETTINGS)
    async with service.client:
        answer = await sent(service, case)
        assert (answer.status_code, answer.headers["Content-Type"]) == (case.status, PROBLEM), answer.text
        assert case.told in answer.text
        if case.line is not None or case.field is not None:
            fault = answer.json()["errors"][0]
            assert (fault["line"], fault["field"]) == (case.line, case.field)
        assert set((await row_counts(store.url)).values()) == {0}
        assert (await service.client.get("/v1/jobs")).json()["data"] == []


@pytest.mark.parametrize("case", [case for case in CORPUS if case.is_accepted], ids=named)
async def test_what_is_healthy_comes_back_as_it_was(case: Case) -> None:
    service = Service(ScratchStore(), settings=SETTINGS)
    async with service.client:
        answer = await sent(service, case)
        assert answer.status_code == 202, answer.text
        assert await given_back(service, answer.json()) == case.rows


async def given_back(service: Service, job: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a job that nobody has begun, without what was found."""
    await service.client.post(job["links"]["cancel"])
    answer = await service.client.get(job["links"]["result"], params={"partial": "true"})
    rows = [orjson.loads(line) for line in answer.content.splitlines()]
    return [{name: value for name, value in row.items() if name not in FOUND} for row in rows]
