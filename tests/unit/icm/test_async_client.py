from pathlib import Path

import httpx
import pytest

from icm import ApiError, ServerUnreachable
from tests.unit.icm.fake_service import FakeService, job_answer, problem

CONFIG = {"task": {"template": "{claim}"}}


async def test_a_creation_is_repeated_with_the_same_key_and_body(tmp_path: Path) -> None:
    data = tmp_path / "claims.jsonl"
    data.write_text('{"claim": "a"}\n')
    service = FakeService(httpx.ConnectError("refused"), job_answer(code=202))
    async with service.async_client() as client:
        job = await client.create_job(data, CONFIG)
    first, second = service.requests
    assert job.id == "job_1"
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert b'{"claim": "a"}\n' in second.content


async def test_both_clients_report_refusals_and_silence_alike() -> None:
    async with FakeService(problem(404, "job-not-found")).async_client() as client:
        with pytest.raises(ApiError) as caught:
            await client.job("job_1")
    assert caught.value.status == 404
    async with FakeService(httpx.ConnectError("refused")).async_client() as client:
        with pytest.raises(ServerUnreachable):
            await client.cancel("job_1")


async def test_label_states_are_read_page_by_page() -> None:
    pages = [{"data": [{"id": "a"}], "next_cursor": "c1"}, {"data": [{"id": "b"}], "next_cursor": None}]
    service = FakeService(*(httpx.Response(200, json=page) for page in pages))
    async with service.async_client() as client:
        found = [state["id"] async for state in client.labels("job_1", order="confidence")]
    assert found == ["a", "b"]
    assert service.requests[0].url.params["order"] == "confidence"


async def test_a_result_is_saved_whole(tmp_path: Path) -> None:
    service = FakeService(problem(503, "storage-unavailable"), httpx.Response(200, content=b"{}\n"))
    async with service.async_client() as client:
        path = await client.result("job_1", to=tmp_path / "labelled.jsonl")
    assert path.read_bytes() == b"{}\n"
