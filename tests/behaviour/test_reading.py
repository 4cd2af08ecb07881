import asyncio
from dataclasses import replace

import pytest

from service.config import Limits, SearchConfig
from service.errors import InvalidCursor, JobNotFound
from service.identifiers import JobId
from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from service.records.jobs import JobStatus, ListedJob, SearchPace, StoredRequest, TrainingPace
from service.records.labels import LabelState, LabelStatus
from service.search.strategies.registry import Method, StrategyName
from tests.support.stored import (
    ARROW_TYPES,
    CONFIG,
    added,
    cancel,
    claimed,
    event_types,
    events,
    finish,
    job,
    label_state,
    queued,
    save,
    set_pace,
    write,
)


async def test_a_stored_job_is_read_back_unchanged(store: Store) -> None:
    async with store.project_unit(LOCAL_CALLER) as unit:
        job_id = await added(unit, 2, 1)
        stored = await unit.jobs.get(job_id)
        columns = await unit.jobs.columns(job_id)
        types = await unit.jobs.arrow_schema(job_id)
    assert (stored.config, stored.status) == (CONFIG, JobStatus.QUEUED)
    assert (stored.started_at, stored.finished_at, stored.error) == (None, None, None)
    assert (stored.progress.rows, stored.progress.utility, stored.progress.eta_seconds) == (3, None, None)
    assert columns == (("sum", "gold"), "gold")
    assert types == ARROW_TYPES


async def test_progress_is_the_sum_over_shards_and_utility_the_mean_over_rows(store: Store) -> None:
    job_id = await queued(store, 3, 1, 4)
    first, second = await claimed(store), await claimed(store)
    await save(store, first, labeled=2, iterations=5, accepted=3, prompts=9, tokens_sent=100, utility=-0.2)
    await save(store, second, labeled=1, iterations=1, inconsistencies=1, tokens_computed=7, utility=-0.6)
    progress = (await job(store, job_id)).progress
    assert (progress.rows, progress.labeled, progress.iterations, progress.accepted) == (8, 3, 6, 3)
    assert (progress.inconsistencies, progress.prompts) == (1, 9)
    assert (progress.tokens_sent, progress.tokens_computed) == (100, 7)
    assert progress.utility == pytest.approx((-0.2 * 3 - 0.6) / 4)


async def test_the_time_left_follows_from_the_prompts_left_and_not_from_the_labels(store: Store) -> None:
    job_id = await queued(store, 4)
    shard = await claimed(store)
    assert (await job(store, job_id)).progress.eta_seconds is None
    await save(store, shard, labeled=4, prompts=10)
    assert (await job(store, job_id)).progress.eta_seconds is None, "nobody has told what the search still asks"
    for left in (30, 5, 0):
        await set_pace(store, shard, SearchPace(prompts_left=left, prompts_per_query=1))
        assert await prompts_ahead(store, job_id) == pytest.approx(left, rel=0.5, abs=0.1)
    await finish(store, shard)
    assert (await job(store, job_id)).progress.eta_seconds == 0.0


async def test_shards_that_wait_count_as_the_rule_of_the_method_says_and_then_as_those_before(store: Store) -> None:
    job_id = await queued(store, 4, 10, 10, config=replace(CONFIG, method=Method.ZERO_SHOT))
    first = await claimed(store)
    await save(store, first, prompts=8)
    await set_pace(store, first, SearchPace(prompts_left=4, prompts_per_query=2))
    assert await prompts_ahead(store, job_id) == pytest.approx(4 + 2 * 20, rel=0.5)
    await finish(store, first)
    assert (await job(store, job_id)).progress.eta_seconds is None, "the waiting shards have not told their pace"
    second = await claimed(store)
    await save(store, second, prompts=50)
    await finish(store, second)
    assert await prompts_ahead(store, job_id) == pytest.approx(50, rel=0.5)


@pytest.mark.parametrize("limits", [Limits(max_seconds=1e-6), Limits(max_tokens_computed=1)])
async def test_a_job_at_its_limit_still_answers_the_request_under_way(store: Store, limits: Limits) -> None:
    job_id = await queued(store, 4, config=replace(CONFIG, limits=limits))
    shard = await claimed(store)
    await save(store, shard, prompts=10, tokens_computed=10)
    for under_way in (20, 0):
        await set_pace(store, shard, SearchPace(prompts_left=30, prompts_per_query=1, prompts_under_way=under_way))
        assert await prompts_ahead(store, job_id) == pytest.approx(under_way, rel=0.5, abs=0.1)


async def prompts_ahead(store: Store, job_id: JobId) -> float | None:
    """The time left of a job, in the prompts that fit into it at the pace so far."""
    async with store.worker_unit() as unit:
        _, elapsed = await unit.shards.job_totals(job_id)
    progress = (await job(store, job_id)).progress
    return None if progress.eta_seconds is None else progress.eta_seconds / elapsed * progress.prompts


async def test_the_time_left_of_a_search_that_trains_goes_by_its_trainings_and_not_by_its_labels(store: Store) -> None:
    job_id = await queued(store, 4, config=replace(CONFIG, search=SearchConfig(strategy=StrategyName.SCALABLE)))
    shard = await claimed(store)
    await save(store, shard, labeled=4)
    assert (await job(store, job_id)).progress.eta_seconds is None
    for read, left in ((0, 500), (100, 400), (100, 0)):
        async with store.worker_unit() as unit:
            pace = TrainingPace(since_seconds=0.0, tokens_read=read, tokens_left=left)
            await unit.shards.set_pace(shard.lease, pace)
            _, elapsed = await unit.shards.job_totals(job_id)
        found = (await job(store, job_id)).progress.eta_seconds
        assert found is None if read == 0 else found == pytest.approx(elapsed * left / read, rel=0.5, abs=0.1)
    async with store.worker_unit() as unit:
        await unit.shards.set_pace(shard.lease, None)
    assert (await job(store, job_id)).progress.eta_seconds is None
    await finish(store, shard)
    assert (await job(store, job_id)).progress.eta_seconds == 0.0


async def test_a_worker_can_ask_what_the_whole_job_has_cost(store: Store) -> None:
    job_id = await queued(store, 1, 1)
    for tokens in (5, 7):
        await save(store, await claimed(store), tokens_computed=tokens)
    async with store.worker_unit() as unit:
        computed, seconds = await unit.shards.job_totals(job_id)
    assert computed == 12
    assert seconds > 0


async def test_jobs_are_paged_newest_first(store: Store) -> None:
    ids = []
    for _ in range(3):
        async with store.project_unit(LOCAL_CALLER) as unit:
            ids += [await added(unit) for _ in range(3)]  # in Postgres they have the very same time
    seen: list[ListedJob] = []
    before: tuple[str, str] | None = None
    async with store.project_unit(LOCAL_CALLER) as unit:
        while page := await unit.jobs.page(limit=3, before=before, status=None):
            seen += page
            before = (page[-1].created_at.isoformat(), page[-1].id)
    assert {found.id for found in seen} == set(ids)
    assert [(found.created_at, found.id) for found in seen] == sorted(
        ((found.created_at, found.id) for found in seen), reverse=True
    )


async def test_jobs_can_be_listed_by_status(store: Store) -> None:
    waiting, stopped = await queued(store), await queued(store)
    await cancel(store, stopped)
    async with store.project_unit(LOCAL_CALLER) as unit:
        for status, expected in ((JobStatus.QUEUED, [waiting]), (JobStatus.CANCELLED, [stopped])):
            assert [found.id for found in await unit.jobs.page(limit=10, before=None, status=status)] == expected


@pytest.mark.parametrize("moment", ["yesterday", "", "2026-11-23T12:00:00"])
async def test_a_cursor_that_is_not_a_time_is_refused(store: Store, moment: str) -> None:
    async with store.project_unit(LOCAL_CALLER) as unit:
        with pytest.raises(InvalidCursor):
            await unit.jobs.page(limit=1, before=(moment, "job_0"), status=None)


async def test_rows_without_a_stored_state_are_unlabeled(store: Store) -> None:
    job_id = await queued(store, 3)
    await write(store, await claimed(store), label_state(1, 1, 0.75))
    assert await page(store, job_id) == [
        ("row-0", unlabeled(0)),
        ("row-1", label_state(1, 1, 0.75)),
        ("row-2", unlabeled(2)),
    ]


async def test_label_states_can_be_replaced(store: Store) -> None:
    job_id = await queued(store, 2)
    shard = await claimed(store)
    await write(store, shard, label_state(0, 0, 0.6), label_state(1, 1, 0.7))
    await write(store, shard, label_state(1, None, None), replace(label_state(0, 0, 0.6), raw_probability=0.5))
    assert [state.raw_probability for _, state in await page(store, job_id)] == [0.5, None]
    await write(store, shard, label_state(0, 0, 0.6))
    assert [state for _, state in await page(store, job_id)] == [label_state(0, 0, 0.6), label_state(1, None, None)]
    async with store.worker_unit() as unit:
        assert await unit.labels.of_shard(job_id, 0) == {0: 0}


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("by_confidence", [False, True])
async def test_every_page_size_shows_every_row_once_in_order(store: Store, limit: int, by_confidence: bool) -> None:
    job_id = await queued(store, 8)
    confidences = {0: 0.9, 1: 0.5, 3: None, 4: 0.5, 5: 1.0, 7: 0.25}
    states = [label_state(position, 0, confidence) for position, confidence in confidences.items()]
    await write(store, await claimed(store), *states)
    seen: list[int] = []
    after: tuple[float, int] | None = None
    while found := await page(store, job_id, limit=limit, after=after, by_confidence=by_confidence):
        seen += [state.position for _, state in found]
        after = (found[-1][1].confidence or 0.0, found[-1][1].position)
    assert seen == ([2, 3, 6, 7, 1, 4, 0, 5] if by_confidence else list(range(8)))


async def test_the_result_has_every_row_with_its_gold_in_the_users_order(store: Store) -> None:
    job_id = await queued(store, 2, 1, gold=[b'"True"', None, b"false"])
    await write(store, await claimed(store), label_state(1, 1))
    async with store.project_unit(LOCAL_CALLER) as unit:
        rows = [row async for row in unit.labels.result(job_id)]
    assert [row.id for row in rows] == ["row-0", "row-1", "row-2"]
    assert [row.data for row in rows] == [b'{"sum":"%d"}' % i for i in range(3)]
    assert [row.gold for row in rows] == [b'"True"', None, b"false"]
    assert [row.state for row in rows] == [unlabeled(0), label_state(1, 1), unlabeled(2)]


async def test_a_result_of_many_rows_arrives_whole(store: Store) -> None:
    job_id = await queued(store, 2500)
    async with store.project_unit(LOCAL_CALLER) as unit:
        positions = [row.state.position async for row in unit.labels.result(job_id)]
    assert positions == list(range(2500))


async def test_a_result_can_be_read_in_parts(store: Store) -> None:
    job_id = await queued(store, 7)
    parts: list[list[int]] = []
    last: int | None = None
    while not parts or parts[-1]:
        async with store.project_unit(LOCAL_CALLER) as unit:
            parts.append([row.state.position async for row in unit.labels.result(job_id, after=last, limit=3)])
        last = parts[-1][-1] if parts[-1] else last
    assert parts == [[0, 1, 2], [3, 4, 5], [6], []]


async def test_labels_of_a_job_that_is_unknown_cannot_be_read(store: Store) -> None:
    unknown = JobId("job_unknown")
    with pytest.raises(JobNotFound):
        await page(store, unknown)
    async with store.project_unit(LOCAL_CALLER) as unit:
        with pytest.raises(JobNotFound):
            assert [row async for row in unit.labels.result(unknown)] == []


async def test_gold_is_compared_as_text(store: Store) -> None:
    gold = [b'"yes"', b"true", b"false", b"3", b"1.50", b"null", None]
    job_id = await queued(store, len(gold), gold=gold)
    await write(store, await claimed(store), label_state(1, 1), label_state(3, None, None))
    async with store.project_unit(LOCAL_CALLER) as unit:
        pairs = [pair async for pair in unit.gold.pairs(job_id)]
    assert pairs == [
        (unlabeled(0), "yes"),
        (label_state(1, 1), "True"),
        (unlabeled(2), "False"),
        (label_state(3, None, None), "3"),
        (unlabeled(4), "1.50"),
    ]


async def test_events_are_numbered_from_one_without_gaps(store: Store) -> None:
    job_id = await queued(store)
    shard = await claimed(store)
    await save(store, shard)
    await finish(store, shard)
    found = await events(store, job_id)
    assert [event.sequence for event in found] == list(range(1, len(found) + 1))
    assert [event.type for event in found] == [
        "job.created",
        "job.running",
        "shard.started",
        "job.progress",
        "shard.finished",
        "job.succeeded",
    ]
    assert found[0].data == {"rows": 2, "shards": 1}
    assert all(event.created_at.tzinfo is not None for event in found)


async def test_events_written_at_once_are_numbered_without_gaps(store: Store) -> None:
    job_id = await queued(store)
    shard = await claimed(store)

    async def append(number: int) -> None:
        if number % 2:
            async with store.project_unit(LOCAL_CALLER) as unit:
                await unit.events.append(job_id, "note", {"number": number})
        else:
            async with store.worker_unit() as unit:
                await unit.events.append(shard.lease, "note", {"number": number})

    await asyncio.gather(*(append(number) for number in range(20)))
    notes = [event for event in await events(store, job_id) if event.type == "note"]
    assert [event.sequence for event in notes] == list(range(notes[0].sequence, notes[0].sequence + 20))
    assert sorted(event.data["number"] for event in notes) == list(range(20))


async def test_events_can_be_read_on_from_the_last_one_seen(store: Store) -> None:
    job_id = await queued(store)
    await cancel(store, job_id)
    assert [event.type for event in await events(store, job_id, after=1)] == ["job.cancel_requested", "job.cancelled"]
    async with store.project_unit(LOCAL_CALLER) as unit:
        assert [event.sequence for event in await unit.events.after(job_id, 1, limit=1)] == [2]
        assert await unit.events.after(job_id, 3, limit=1) == []


async def test_an_event_of_a_unit_that_failed_takes_no_number(store: Store) -> None:
    job_id = await queued(store)
    with pytest.raises(RuntimeError):
        await append_and_fail(store, job_id)
    await cancel(store, job_id)
    assert await event_types(store, job_id) == ["job.created", "job.cancel_requested", "job.cancelled"]


async def append_and_fail(store: Store, job_id: JobId) -> None:
    async with store.project_unit(LOCAL_CALLER) as unit:
        await unit.events.append(job_id, "note", {})
        raise RuntimeError("after the event")


async def test_a_key_returns_the_job_of_its_first_use(store: Store) -> None:
    job_id = await queued(store)
    async with store.project_unit(LOCAL_CALLER) as unit:
        assert await unit.idempotency.claim("key", "a" * 64, job_id) is None
    async with store.project_unit(LOCAL_CALLER) as unit:
        used = await unit.idempotency.claim("key", "b" * 64, JobId("job_other"))
        assert await unit.idempotency.claim("another", "b" * 64, JobId("job_other")) is None
    assert used == StoredRequest(sha256="a" * 64, job_id=job_id)


async def test_of_concurrent_requests_with_one_key_one_wins_and_the_others_get_its_job(store: Store) -> None:
    async def claim_key(number: int) -> StoredRequest | None:
        async with store.project_unit(LOCAL_CALLER) as unit:
            return await unit.idempotency.claim("key", "a" * 64, JobId(f"job_{number}"))

    answers = await asyncio.gather(*(claim_key(number) for number in range(12)))
    winner = answers.index(None)
    assert answers.count(None) == 1
    assert {answer.job_id for answer in answers if answer is not None} == {f"job_{winner}"}


async def test_a_worker_that_waits_for_work_is_woken_when_some_is_queued(store: Store) -> None:
    await queued(store)
    await asyncio.wait_for(store.wait_for_work(60.0), 30.0)  # the first wait ends once somebody listens
    waiting = asyncio.create_task(store.wait_for_work(60.0))
    await queued(store)
    await asyncio.wait_for(waiting, 30.0)


async def test_a_reader_that_waits_for_events_is_woken_by_one(store: Store) -> None:
    job_id = await queued(store)
    with store.follow_events(job_id) as subscription:
        await subscription.wait(0.01)
        waiting = asyncio.create_task(subscription.wait(60.0))
        await asyncio.sleep(0)
        await cancel(store, job_id)
        await asyncio.wait_for(waiting, 30.0)


async def test_an_event_between_a_read_of_the_log_and_the_wait_is_not_missed(store: Store) -> None:
    job_id = await queued(store)
    with store.follow_events(job_id) as looking, store.follow_events(job_id) as another:
        await looking.wait(0.01)  # from now on both hear of everything
        await cancel(store, job_id)
        await asyncio.wait_for(another.wait(60.0), 30.0)
        await asyncio.wait_for(looking.wait(60.0), 30.0)


async def test_waits_end_with_their_time_out(store: Store) -> None:
    await asyncio.wait_for(store.wait_for_work(0.01), 30.0)
    with store.follow_events(JobId("job_unknown")) as subscription:
        await asyncio.wait_for(subscription.wait(0.01), 30.0)


async def test_a_store_that_is_ready_answers_a_ping(store: Store) -> None:
    await store.ping()


async def page(
    store: Store,
    job_id: JobId,
    *,
    limit: int = 100,
    after: tuple[float, int] | None = None,
    by_confidence: bool = False,
) -> list[tuple[str, LabelState]]:
    async with store.project_unit(LOCAL_CALLER) as unit:
        return await unit.labels.page(job_id, limit=limit, after=after, by_confidence=by_confidence)


def unlabeled(position: int) -> LabelState:
    state = label_state(position, None, None)
    assert state.status is LabelStatus.UNLABELED
    return state


async def test_summaries_of_searches_are_stored_with_their_shards(store: Store) -> None:
    job_id = await queued(store, 2, 1)
    await finish(store, await claimed(store), summary={"utility": -0.5})
    async with store.project_unit(LOCAL_CALLER) as unit:
        assert await unit.jobs.summaries(job_id) == {0: {"utility": -0.5}}
    await finish(store, await claimed(store))
    async with store.project_unit(LOCAL_CALLER) as unit:
        assert await unit.jobs.summaries(job_id) == {0: {"utility": -0.5}, 1: None}
