"""The time left of a running job, by a clock that each prompt advances."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from service.access.caller_store import CallerStore
from service.bootstrap import Application, build_application
from service.config import JobConfig, Limits
from service.identifiers import JobId, WorkerId
from service.jobs.running.search_pace import PaceOfSearch
from service.jobs.submission.submit import submit
from service.records.access import LOCAL_CALLER
from service.records.jobs import SearchPace
from service.scoring.deterministic import DeterministicScorer
from service.scoring.registry import ConfiguredScorers
from service.search.engine import Search
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from service.search.strategies.baselines import ZeroShot
from service.search.strategies.queries_left import ASKED_ONCE
from service.search.strategies.registry import Method
from service.settings import QueueSettings, Settings
from tests.support.memory import MemoryStore
from tests.support.sources import config, source
from tests.support.stores import Clock
from tests.toy import ToyWorld
from workers.worker import Worker

SECONDS_PER_PROMPT = 60.0  # beside which the test's own seconds hardly count
FIRST_FIFTH = 0.2
SHARDS = {"anchor_rows": 20, "shard_rows": 16}


class SlowScorer(DeterministicScorer):
    """Takes a minute of a test's clock for each prompt; labels may take several prompts each."""

    def __init__(self, clock: Clock, prompts_per_query: int = 1) -> None:
        super().__init__()
        self.clock, self.prompts_per_query = clock, prompts_per_query

    async def score(self, tree: PromptTree, labels: Sequence[str], **how: Any) -> TreeScores:
        found = await super().score(tree, labels, **how)
        usage = replace(found.usage, prompts=found.usage.prompts * self.prompts_per_query)
        self.clock.advance(SECONDS_PER_PROMPT * usage.prompts)
        return TreeScores(found.log_probabilities, usage)


class Place:
    """A worker whose backend takes time by the clock of its store."""

    def __init__(self, prompts_per_query: int = 1) -> None:
        self.clock = Clock()
        self.store = MemoryStore(max_crashes=3, now=self.clock.now)
        self.scorers = ConfiguredScorers({"default": SlowScorer(self.clock, prompts_per_query)})
        wired = build_application(Settings(queue=QueueSettings(checkpoint_seconds=0.0)), store=self.store)
        self.application = Application(wired.settings, self.store, self.scorers)

    async def job_of(self, rows: int, chosen: JobConfig) -> JobId:
        data = source(*({"q": f"row {number}"} for number in range(rows)))
        projects = CallerStore(self.store, LOCAL_CALLER)
        return (await submit(chosen, data, projects, self.scorers, idempotency_key=None)).job.id

    async def times_left(self, job_id: JobId) -> list[tuple[float, float | None]]:
        """Run the job; the seconds that were left at each of its reports of progress, and those that it told."""
        while await Worker(self.application, WorkerId("worker")).work_once():
            pass
        async with self.store.project_unit(LOCAL_CALLER) as unit:
            log = await unit.events.after(job_id, 0, limit=100_000)
            start = (await unit.jobs.get(job_id)).started_at
        assert start is not None
        [end] = [event.created_at for event in log if event.type == "job.succeeded"]
        told = [(event.created_at, event.data["eta_seconds"]) for event in log if event.type == "job.progress"]
        return [
            ((end - when).total_seconds(), left) for when, left in told if when - start >= FIRST_FIFTH * (end - start)
        ]


@pytest.mark.parametrize(
    ("rows", "method", "search"),
    [
        pytest.param(32, Method.ICM, {}, id="default"),
        pytest.param(32, Method.ICM, {"objective": "utility"}, id="utility"),
        pytest.param(90, Method.ICM, SHARDS, id="shards"),
        pytest.param(90, Method.ZERO_SHOT, SHARDS, id="zero-shot"),
    ],
)
@pytest.mark.parametrize("prompts_per_query", [1, 3])
async def test_from_the_first_fifth_of_a_job_on_its_time_left_is_right_within_a_factor_of_two(
    rows: int, method: Method, search: dict[str, Any], prompts_per_query: int
) -> None:
    place = Place(prompts_per_query)
    told = await place.times_left(await place.job_of(rows, replace(config(search=search), method=method)))
    known = [(really, left) for really, left in told if left is not None]
    assert len(known) >= 3
    assert len(told) - len(known) <= 1, "unknown at most between the first shard and the others"
    assert all(really / 2 - SECONDS_PER_PROMPT <= left <= 2 * really + SECONDS_PER_PROMPT for really, left in known), (
        told
    )


def test_the_prompts_under_way_are_those_of_the_queries_without_an_answer() -> None:
    search = Search(ToyWorld(rows=8, classes=2, related=False, seed=0).problem(), ZeroShot())
    pace = PaceOfSearch(search, ASKED_ONCE)
    pace.begin(remembered=2, unanswered=6)
    pace.scored(queries=4, prompts=12)
    assert pace.measured == SearchPace(prompts_left=6.0, prompts_per_query=3.0, prompts_under_way=6.0)
    pace.scored(queries=2, prompts=6)
    assert pace.measured == SearchPace(prompts_left=0.0, prompts_per_query=3.0, prompts_under_way=0.0)


async def test_the_time_left_ends_with_the_limits_of_the_job() -> None:
    for limits in (Limits(max_seconds=9000.0), Limits(max_tokens_computed=300)):
        place = Place()
        told = await place.times_left(await place.job_of(48, replace(config(), limits=limits)))
        assert told
        assert all(left is not None and left <= 9000.0 for _, left in told)
