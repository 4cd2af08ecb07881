import pytest

from service.access.desks import CallerDesks
from service.errors import JobNotFound
from service.jobs.export.results import find_result, stream_result
from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from service.result_formats import ResultFormat
from tests.behaviour.stored import cancel, queued


@pytest.mark.parametrize("form", list(ResultFormat))
async def test_a_download_of_a_job_that_is_removed_meanwhile_breaks_off(store: Store, form: ResultFormat) -> None:
    desks = CallerDesks(store, LOCAL_CALLER)
    job_id = await queued(store, 4_100)
    await cancel(store, job_id)
    parts = stream_result(desks, await find_result(desks, job_id, partial=True), form)
    assert await anext(parts)
    async with store.desk(LOCAL_CALLER) as desk:
        await desk.jobs.remove(job_id)
    with pytest.raises(JobNotFound):
        assert [part async for part in parts] == []
