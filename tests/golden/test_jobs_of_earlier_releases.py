"""Jobs that an earlier release left halfway are continued, and end as they would have there."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from service.errors import CheckpointTooNew
from service.identifiers import JobId
from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from service.records.jobs import Job, JobStatus
from service.records.work import WorkOutcome
from service.search.state.checkpoint import VERSION
from tests.golden.case import (
    CONFIGS,
    HERE,
    Golden,
    StoppingScorer,
    left_half_way,
    result_lines,
    run,
    submitted,
)
from tests.golden.make import make
from tests.support.memory import MemoryStore

GOLDENS = sorted(HERE.glob("v*/*.json"))
NAMES = [f"{path.parent.name} {path.stem}" for path in GOLDENS]
DIGITS = 9


def test_every_release_left_a_job_of_each_kind() -> None:
    releases = {path.parent for path in GOLDENS}
    assert {folder.name for folder in releases} >= {"v0.1"}
    assert {path.stem for path in (HERE / "v0.1").glob("*.json")} >= CONFIGS.keys()


@pytest.mark.parametrize("path", GOLDENS, ids=NAMES)
async def test_a_half_run_search_ends_as_under_that_release_and_repeats_no_step(store: Store, path: Path) -> None:
    golden = Golden.read(path)
    job_id = await left_half_way(store, golden)
    scorer = StoppingScorer()
    assert await run(store, scorer) is WorkOutcome.SUCCEEDED
    found = [orjson.loads(line) for line in await result_lines(store, job_id)]
    expected = [orjson.loads(line) for line in golden.result]
    assert [rounded(row) for row in found] == [rounded(row) for row in expected]
    assert 0 < scorer.calls < await calls_of_a_whole_search(golden)


def rounded(row: dict[str, Any]) -> list[tuple[str, Any]]:
    """Columns in their order; libraries of mathematics differ in a number's last digits."""
    return [(name, round(value, DIGITS) if isinstance(value, float) else value) for name, value in row.items()]


async def calls_of_a_whole_search(golden: Golden) -> int:
    fresh, scorer = MemoryStore(), StoppingScorer()
    await submitted(fresh, golden.config, golden.rows)
    await run(fresh, scorer)
    return scorer.calls


async def test_a_search_of_a_later_release_stays_unchanged(store: Store) -> None:
    golden = Golden.read(HERE / "v0.1" / "folds.json")
    later = orjson.dumps({"version": VERSION + 1, "whatever": "is needed there"})
    job_id = await left_half_way(store, golden, checkpoint=later)
    with pytest.raises(CheckpointTooNew, match="later release"):
        await run(store, StoppingScorer())
    assert (await job_of(store, job_id)).status is JobStatus.RUNNING
    async with store.project_unit(LOCAL_CALLER) as unit:
        states = [row.state async for row in unit.labels.result(job_id)]
    assert states == golden.states()


async def test_a_search_that_an_earlier_release_stored_begins_anew(store: Store) -> None:
    golden = Golden.read(HERE / "v0.1" / "folds.json")
    job_id = await left_half_way(store, golden, checkpoint=orjson.dumps({"version": 1}))
    assert await run(store, StoppingScorer()) is WorkOutcome.SUCCEEDED
    assert len(await result_lines(store, job_id)) == len(golden.rows)


def test_a_releases_search_is_never_overwritten() -> None:
    with pytest.raises(FileExistsError):
        make(HERE / "v0.1")


async def job_of(store: Store, job_id: JobId) -> Job:
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.jobs.get(job_id)
