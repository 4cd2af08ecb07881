"""The corpus through the real application: what is healthy comes back as it was, of the rest nothing is kept.

The cases of a kind are sent one after the other to one service, which has to bear that, too.
"""

from typing import Any

import httpx
import orjson
import pytest

from service.settings import Settings, UploadSettings
from tests.hostile.case import Case
from tests.hostile.corpus import CORPUS
from tests.support.running.harness import Service
from tests.support.stores import ScratchStore, row_counts

FOUND = ("icm_label", "icm_confidence", "icm_margin", "icm_status")
PROBLEM = "application/problem+json"
# The corpus' bombs are small ones, since they are made anew in every run.
SETTINGS = Settings(upload=UploadSettings(max_parquet_memory_bytes=128_000_000))
KINDS = ["jsonl", "csv", "parquet", "inline", "config", "form", "name"]


def of(kind: str, *, accepted: bool) -> list[Case]:
    return [case for case in CORPUS if case.name.startswith(f"{kind}-") and case.is_accepted is accepted]


ACCEPTED = [kind for kind in KINDS if of(kind, accepted=True)]
REFUSED = [kind for kind in KINDS if of(kind, accepted=False) and kind != "parquet"]
UNUSABLE = of("parquet", accepted=False)
# Files that may overwhelm or crash their reader, which therefore needs its process, and the others.
DANGEROUS = [case for case in UNUSABLE if case.status == 413 or case.told in {"", "not readable"}]
READABLE = [case for case in UNUSABLE if case not in DANGEROUS]


async def sent(service: Service, case: Case) -> httpx.Response:
    return await service.client.post("/v1/jobs", content=case.body(), headers=dict(case.headers))


def test_the_corpus_is_large_and_its_names_differ() -> None:
    names = [case.name for case in CORPUS]
    assert len(set(names)) == len(names)
    assert len(names) >= 60
    healthy = [case for kind in ACCEPTED for case in of(kind, accepted=True)]
    refused = [case for kind in REFUSED for case in of(kind, accepted=False)]
    assert {case.name for case in (*healthy, *refused, *UNUSABLE)} == set(names)


async def assert_refused_and_not_kept(cases: list[Case]) -> None:
    store = ScratchStore()
    service = Service(store, settings=SETTINGS)
    async with service.client:
        assert {case.name: told(case, await sent(service, case)) for case in cases} == {
            case.name: (case.status, PROBLEM, case.told, (case.line, case.field)) for case in cases
        }
        assert set((await row_counts(store.url)).values()) == {0}
        assert (await service.client.get("/v1/jobs")).json()["data"] == []


def told(case: Case, answer: httpx.Response) -> tuple[int, str, str, tuple[Any, Any]]:
    """The reported faults as the case expects them; where the case gives no place, any place matches."""
    place = (None, None)
    if case.has_place:
        fault = answer.json()["errors"][0]
        place = (fault["line"], fault["field"])
    said = case.told if case.told in answer.text else answer.text
    return answer.status_code, answer.headers["Content-Type"], said, place


@pytest.mark.parametrize("kind", REFUSED)
async def test_unusable_files_are_refused_with_the_place_of_the_fault_and_not_kept(kind: str) -> None:
    await assert_refused_and_not_kept(of(kind, accepted=False))


@pytest.mark.usefixtures("reader_without_a_process")
async def test_a_parquet_file_whose_content_cannot_be_used_is_refused_with_the_place_and_not_kept() -> None:
    await assert_refused_and_not_kept(READABLE)


@pytest.mark.timeout(300)  # a process for each of them
async def test_a_parquet_file_that_cannot_be_read_is_refused_and_not_kept() -> None:
    await assert_refused_and_not_kept(DANGEROUS)


@pytest.mark.parametrize("kind", ACCEPTED)
@pytest.mark.usefixtures("reader_without_a_process")
async def test_healthy_files_come_back_unchanged(kind: str) -> None:
    service = Service(ScratchStore(), settings=SETTINGS)
    async with service.client:
        for case in of(kind, accepted=True):
            answer = await sent(service, case)
            assert answer.status_code == 202, (case.name, answer.text)
            assert await given_back(service, answer.json()) == case.rows, case.name


async def given_back(service: Service, job: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a job that has not started, without the columns of results."""
    await service.client.post(job["links"]["cancel"])
    answer = await service.client.get(job["links"]["result"], params={"partial": "true"})
    rows = [orjson.loads(line) for line in answer.content.splitlines()]
    return [{name: value for name, value in row.items() if name not in FOUND} for row in rows]
