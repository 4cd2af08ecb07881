import pytest

from service.access.caller_store import CallerStore
from service.errors import JobNotFound
from service.jobs.export.results import find_result, stream_result
from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from service.result_formats import ResultFormat
from tests.support.stored import cancel, queued


@pytest.mark.parametrize("form", [ResultFormat.JSONL, ResultFormat.PARQUET])
async def test_a_download_ends_if_its_job_is_deleted(
    store: Store, form: ResultFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.jobs.export.results._BATCH_ROWS", 2)
    project_store = CallerStore(store, LOCAL_CALLER)
    job_id = await queued(store, 5)
    await cancel(store, job_id)
    parts = stream_result(project_store, await find_result(project_store, job_id, partial=True), form)
    assert await anext(parts)
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.jobs.remove(job_id)
    with pytest.raises(JobNotFound):
        assert [part async for part in parts] == []
