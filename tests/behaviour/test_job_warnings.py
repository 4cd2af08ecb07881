"""What was doubtful about a job when it was made stays with it."""

from service.entities import LOCAL_CALLER
from service.ports import Store
from tests.golden.case import submitted

CONFIG = {"task": {"template": "{q} is"}}


async def test_a_job_keeps_its_warnings(store: Store) -> None:
    job_id = await submitted(store, CONFIG, [{"q": "a"}, {"q": "a"}, {"q": "b"}])
    async with store.desk(LOCAL_CALLER) as desk:
        job = await desk.jobs.get(job_id)
        [listed] = await desk.jobs.page(limit=10, before=None, status=None)
    relations, repeated = job.warnings
    assert "no relations" in relations
    assert repeated == "1 rows read exactly like an earlier row"
    assert listed.warnings == job.warnings
