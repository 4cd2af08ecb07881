"""However often its workers die, a job's labels are those that its stored answers give, and each is paid for once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from service.access.issuing import create_key
from service.identifiers import ProjectName
from service.ports.store import Store
from service.records.access import LOCAL_CALLER, Caller, Scope
from service.records.jobs import JobStatus
from tests.behaviour.unlucky import NoisyScorer, Trial, UnluckyStore, moments
from tests.support.stored import LONG, events


async def length_of_a_run(store: Store) -> tuple[int, int]:
    """Units of work and calls of a worker that nothing happens to."""
    trial = Trial(store, "undisturbed")
    await trial.submitted()
    counting, scorer = UnluckyStore(store, fatal=None, committed=False), NoisyScorer(trial.backend)
    await trial.run(counting, scorer)
    return counting.units, scorer.calls


async def assert_it_ends_as_its_answers_say(trial: Trial, **moment: Any) -> None:
    ended, labels = await trial.ended(await trial.submitted(), **moment)
    repeated, again = await trial.by_heart()
    assert ended.status is repeated.status is JobStatus.SUCCEEDED
    assert again == labels
    assert ended.progress.prompts == len(set(trial.asked))
    assert (repeated.progress.prompts, repeated.progress.tokens_sent, repeated.progress.tokens_computed) == (0, 0, 0)


@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
async def test_a_job_killed_at_any_unit_of_work_ends_with_the_same_labels(store: Store, committed: bool) -> None:
    units, _ = await length_of_a_run(store)
    for unit in moments(units):
        trial = Trial(store, f"{unit} {committed}")
        await assert_it_ends_as_its_answers_say(trial, unit=unit, committed=committed)


async def test_a_job_killed_at_any_call_ends_with_the_same_labels(store: Store) -> None:
    _, calls = await length_of_a_run(store)
    for call in moments(calls):
        await assert_it_ends_as_its_answers_say(Trial(store, f"call {call}"), call=call)


async def test_a_job_whose_worker_is_stopped_ends_with_the_same_labels(store: Store) -> None:
    _, calls = await length_of_a_run(store)
    for call in moments(calls):
        trial = Trial(store, f"told at {call}")
        job_id = await trial.submitted()
        await trial.run(store, NoisyScorer(trial.backend, last_call=call))
        if not (await trial.job(job_id)).status.is_final:
            assert not await trial.killed()
        repeated, again = await trial.by_heart()
        assert repeated.status is JobStatus.SUCCEEDED
        assert again == await trial.labels(job_id)


async def test_a_job_with_a_limit_stops_where_it_would_have_without_a_death(store: Store) -> None:
    free = Trial(store, "free", nats=0.0)
    job_id = await free.submitted()
    await free.ended(job_id)
    costs = [event.data["tokens_computed"] for event in await events(store, job_id) if event.type == "job.progress"]
    limit = costs[len(costs) // 2]  # reached with the last answer of a step, before the step is saved
    calm = Trial(store, "calm", {"max_tokens_computed": limit}, nats=0.0)
    undisturbed, expected = await calm.ended(await calm.submitted())
    assert undisturbed.progress.tokens_computed == limit < costs[-1]
    units, _ = await length_of_a_run(store)
    for unit in moments(units):
        trial = Trial(store, f"limited {unit}", calm.limits, nats=0.0)
        ended, labels = await trial.ended(await trial.submitted(), unit=unit, committed=True)
        assert ended.progress == undisturbed.progress
        assert labels == expected


async def test_a_job_asks_nothing_that_another_one_has_asked(store: Store) -> None:
    trial = Trial(store, "shared")
    first, second = await trial.submitted(), await trial.submitted()
    assert await trial.killed(call=2)
    assert not await trial.killed()
    assert not await trial.killed()
    assert await trial.labels(first) == await trial.labels(second)
    assert (await trial.job(second)).progress.prompts == 0


async def test_a_job_costs_as_much_as_if_no_other_project_had_ever_asked(store: Store) -> None:
    fish = Caller(project=ProjectName("fish"))
    await create_key(store, project=fish.project, name="a", scopes=[Scope.READ])
    found = []
    for caller in (LOCAL_CALLER, fish, fish):
        trial = Trial(store, "of all projects", nats=0.0, caller=caller)
        job_id = await trial.submitted()
        scorer = NoisyScorer(trial.backend, nats=0.0)
        await trial.run(store, scorer)
        found.append((scorer.asked, replace((await trial.job(job_id)).progress, eta_seconds=None)))
    first, of_another, again = found
    assert first == of_another
    assert first[1].tokens_computed > 0
    assert (again[0], again[1].tokens_computed) == ([], 0)


async def test_two_jobs_that_ask_the_same_at_the_same_time_come_to_the_same_labels(store: Store) -> None:
    trial, both_ask = Trial(store, "rivals"), asyncio.Barrier(2)
    job_ids = [await trial.submitted(), await trial.submitted()]
    rivals = [NoisyScorer(trial.backend, seed=seed, meeting=both_ask) for seed in range(2)]
    await asyncio.gather(*(trial.run(store, rival, lease_seconds=LONG) for rival in rivals))
    first, second = [await trial.labels(job_id) for job_id in job_ids]
    _, again = await trial.by_heart()
    assert first == second == again
    assert set(rivals[0].asked) & set(rivals[1].asked)
