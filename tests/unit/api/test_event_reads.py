import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api.labelling.event_reads import EventReads
from service.access.caller_store import CallerStore
from service.errors import JobNotFound
from service.identifiers import JobId
from service.ports.store import ProjectUnit
from service.records.access import LOCAL_CALLER, Caller
from tests.support.stored import cancel, queued
from tests.support.stores import ScratchStore

PATIENCE_SECONDS = 30.0


class CountingStore(ScratchStore):
    """Counts the desks that were opened; each waits until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.project_store = 0
        self.asked = asyncio.Event()
        self.may_open = asyncio.Event()
        self.may_open.set()

    @asynccontextmanager
    async def project_unit(self, caller: Caller) -> AsyncIterator[ProjectUnit]:
        self.project_store += 1
        self.asked.set()
        await self.may_open.wait()
        async with super().project_unit(caller) as unit:
            yield unit


async def test_streams_that_wait_for_the_same_page_share_it() -> None:
    store, reads = CountingStore(), EventReads()
    job_id = await queued(store)
    store.project_store = 0
    project_store = CallerStore(store, LOCAL_CALLER)
    found = await asyncio.gather(*(reads.after(project_store, job_id, 0) for _ in range(50)))
    assert store.project_store == 1
    assert {page.text for page in found} == {found[0].text}
    assert found[0].text.startswith(b"event: job.created")


async def test_a_stream_that_asks_during_a_read_gets_a_later_read() -> None:
    store, reads = CountingStore(), EventReads()
    job_id = await queued(store)
    project_store = CallerStore(store, LOCAL_CALLER)
    store.project_store = 0
    store.asked.clear()
    store.may_open.clear()
    early = asyncio.create_task(reads.after(project_store, job_id, 0))
    await asyncio.wait_for(store.asked.wait(), PATIENCE_SECONDS)  # now it is being read
    late = asyncio.create_task(reads.after(project_store, job_id, 0))
    await asyncio.sleep(0)
    store.may_open.set()
    await asyncio.wait_for(asyncio.gather(early, late), PATIENCE_SECONDS)
    assert store.project_store == 2
    await cancel(store, job_id)
    assert (await reads.after(project_store, job_id, 0)).job_has_ended


async def test_a_stream_that_leaves_takes_no_page_from_the_others() -> None:
    store, reads = CountingStore(), EventReads()
    job_id = await queued(store)
    project_store = CallerStore(store, LOCAL_CALLER)
    first, second = (asyncio.create_task(reads.after(project_store, job_id, 0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await asyncio.wait_for(second, PATIENCE_SECONDS)).text
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_an_unknown_job_is_unknown_to_all_who_share() -> None:
    reads, project_store = EventReads(), CallerStore(ScratchStore(), LOCAL_CALLER)
    unknown = JobId("job_unknown")
    found = await asyncio.gather(*(reads.after(project_store, unknown, 0) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in found] == [JobNotFound] * 3
