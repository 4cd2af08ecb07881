"""Workers, callers and time do whatever they like to a few jobs, in any order; a store and the model must agree."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, precondition, rule

from service.entities import LOCAL_CALLER, Backoff, ClaimedShard, Job, LabelState, PauseReason, Progress, ShardStatus
from service.errors import JobFinished, JobNotFound, LeaseLost, ServiceError, WrongState
from service.identifiers import JobId, WorkerId
from service.ports import Desk, Workbench
from service.search.prompt_tree import Usage
from tests.behaviour.stored import CONFIG, NO_TIME, added, label_state
from tests.lifecycle.model import LONG_SECONDS, Model, ModelJob, gapless
from tests.lifecycle.worlds import World

T = TypeVar("T")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WORKERS = st.sampled_from([WorkerId("alice"), WorkerId("bob"), WorkerId("carol")])
ENDS = st.sampled_from([ShardStatus.SUCCEEDED, ShardStatus.SUCCEEDED, ShardStatus.FAILED, ShardStatus.CANCELLED])
WAITS = st.sampled_from([0.0, LONG_SECONDS])


class WorkerDied(Exception):
    """In the middle of a unit of work."""


class LifeOfJobs(RuleBasedStateMachine):
    """The rules are what anybody can do; leases, also lost ones, are kept to be used again at any time."""

    world: ClassVar[World]
    claims = Bundle("claims")
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.world.clear()
        self.model = Model()
        self.submitted = 0
        self.ended: dict[JobId, Job] = {}

    def teardown(self) -> None:
        self.world.clear()

    @rule(target=jobs, sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3), anchor=st.booleans())
    @precondition(lambda self: self.submitted < 4)
    def submit(self, sizes: list[int], anchor: bool) -> JobId:
        self.submitted += 1
        created_at = BEGAN + timedelta(seconds=self.submitted)
        job_id = self.at_desk(lambda desk: added(desk, *sizes, anchor=anchor, created_at=created_at))
        self.model.submit(job_id, sizes, anchor=anchor)
        self.model.jobs[job_id].number = self.submitted
        return job_id

    @rule(target=claims, worker=WORKERS)
    def claim(self, worker: WorkerId) -> object:
        self.model.tick()
        expected = self.model.claim()
        found = self.at_bench(lambda bench: bench.shards.claim(worker, LONG_SECONDS))
        if expected is None or found is None:
            assert (expected, found) == (None, None)
            return multiple()
        job, index = expected
        shard = job.shards[index]
        assert (found.lease.job_id, found.lease.shard, found.lease.epoch) == (job.id, index, shard.epoch)
        assert (found.checkpoint, found.rows, found.shards) == (shard.checkpoint, len(shard.rows), len(job.shards))
        assert found.progress.tokens_computed == shard.tokens
        assert found.paused == (job.status == "paused")
        return found

    @rule(claimed=claims, seconds=st.sampled_from([LONG_SECONDS, NO_TIME]))
    def renew(self, claimed: ClaimedShard, seconds: float) -> None:
        """For long; or for no time, as a worker does that stalls and then dies."""
        lease = claimed.lease
        self.agree(lambda: self.model.renew(lease, seconds), lambda bench: bench.shards.renew(lease, seconds))

    @rule(claimed=claims, checkpoint=st.sampled_from([b"one", b"two"]), label=st.integers(0, 1), tokens=st.integers(0, 9))
    def save(self, claimed: ClaimedShard, checkpoint: bytes, label: int, tokens: int) -> None:
        labels = self.labels_of(claimed, label)
        self.agree(
            lambda: self.model.save(claimed.lease, checkpoint, labels, tokens),
            lambda bench: save_all(bench, claimed, checkpoint, labels, tokens),
        )

    @rule(claimed=claims, label=st.integers(0, 1))
    def die_while_saving(self, claimed: ClaimedShard, label: int) -> None:
        """Whatever was written before the end of the unit of work is not there."""

        async def half(bench: Workbench) -> None:
            await save_all(bench, claimed, b"lost", self.labels_of(claimed, label), 99)
            raise WorkerDied

        try:
            self.at_bench(half)
        except (WorkerDied, LeaseLost):
            return
        raise AssertionError("the unit of work came to its end")

    @rule(claimed=claims, status=ENDS)
    def finish(self, claimed: ClaimedShard, status: ShardStatus) -> None:
        code = "BackendRefused" if status is ShardStatus.FAILED else None
        error = None if code is None else {"code": code, "message": "no"}
        self.agree(
            lambda: self.model.finish(claimed.lease, status, code),
            lambda bench: bench.shards.finish(claimed.lease, status, error=error),
        )

    @rule(claimed=claims, crashed=st.booleans())
    def release(self, claimed: ClaimedShard, crashed: bool) -> None:
        self.agree(
            lambda: self.model.release(claimed.lease, crashed=crashed),
            lambda bench: bench.shards.release(claimed.lease, crashed=crashed),
        )

    @rule(claimed=claims, seconds=WAITS)
    def lose_the_backend(self, claimed: ClaimedShard, seconds: float) -> None:
        backoff = Backoff(first_seconds=seconds, longest_seconds=seconds)
        reason = PauseReason.BACKEND_UNAVAILABLE
        self.agree(
            lambda: self.model.pause(claimed.lease, tried=claimed.paused, wait_seconds=seconds),
            lambda bench: bench.shards.pause(claimed, reason, "away", backoff=backoff, at_least_seconds=0.0),
        )

    @rule(claimed=claims)
    def find_the_backend_back(self, claimed: ClaimedShard) -> None:
        self.agree(lambda: self.model.resume(claimed.lease), lambda bench: bench.shards.resume(claimed))

    @rule(job_id=jobs)
    def cancel(self, job_id: JobId) -> None:
        self.agree_at_desk(job_id, self.model.cancel, lambda desk: desk.jobs.request_cancel(job_id))

    @rule(job_id=jobs)
    def delete(self, job_id: JobId) -> None:
        self.agree_at_desk(job_id, self.model.delete, lambda desk: desk.jobs.remove(job_id))
        if job_id not in self.model.jobs:
            self.ended.pop(job_id, None)

    @rule()
    def let_time_pass(self) -> None:
        self.model.later()
        self.world.later()

    @invariant()
    def store_and_model_agree(self) -> None:
        found = self.at_desk(lambda desk: desk.jobs.page(limit=100, before=None, status=None))
        assert [job.id for job in found] == list(reversed(self.model.jobs))
        for job in found:
            self.compare(job, self.model.jobs[job.id])

    @invariant()
    def the_project_is_charged_for_what_is_there(self) -> None:
        usage = self.at_desk(lambda desk: desk.account.usage())
        jobs = self.model.jobs.values()
        rows = sum(len(shard.rows) for job in jobs for shard in job.shards)
        assert (usage.jobs_in_flight, usage.rows) == (sum(not job.status.is_final for job in jobs), rows)

    def compare(self, job: Job, expected: ModelJob) -> None:
        code = None if job.error is None else job.error["code"]
        assert (job.status, job.cancel_requested, code) == (
            expected.status,
            expected.cancel_requested,
            expected.error,
        )
        assert (job.finished_at is None, job.config) == (not job.status.is_final, CONFIG)
        assert job.progress.tokens_computed == sum(shard.tokens for shard in expected.shards)
        events = self.at_desk(lambda desk: desk.events.after(job.id, 0, limit=1000))
        assert gapless(events)
        assert [event.type for event in events] == expected.events
        labels = self.at_desk(lambda desk: states_of(desk, job.id))
        assert {state.position: state.label for state in labels if state.label is not None} == expected.labels
        if job.status.is_final:
            first = self.ended.setdefault(job.id, job)
            assert (first.status, first.finished_at, first.error) == (job.status, job.finished_at, job.error)

    def labels_of(self, claimed: ClaimedShard, label: int) -> dict[int, int]:
        job = self.model.jobs.get(claimed.lease.job_id)
        return {} if job is None else dict.fromkeys(job.shards[claimed.lease.shard].rows, label)

    def agree(self, expected: Callable[[], T], work: Callable[[Workbench], Awaitable[T]]) -> None:
        """Both give the same, or refuse with the same error."""
        self.model.tick()
        assert outcome(lambda: self.at_bench(work)) == outcome(expected)

    def agree_at_desk(
        self, job_id: JobId, expected: Callable[[ModelJob], None], work: Callable[[Desk], Awaitable[object]]
    ) -> None:
        self.model.tick()
        job = self.model.jobs.get(job_id)
        refused = JobNotFound if job is None else outcome(lambda: expected(job))
        told = outcome(lambda: self.at_desk(work))
        assert (told if isinstance(told, type) else None) == refused

    def at_desk(self, work: Callable[[Desk], Awaitable[T]]) -> T:
        async def unit() -> T:
            async with self.world.store.desk(LOCAL_CALLER) as desk:
                return await work(desk)

        return self.world.run(unit())

    def at_bench(self, work: Callable[[Workbench], Awaitable[T]]) -> T:
        async def unit() -> T:
            async with self.world.store.workbench() as bench:
                return await work(bench)

        return self.world.run(unit())


def outcome(work: Callable[[], T]) -> T | type[ServiceError]:
    """What it gives, or the kind of error that it raises."""
    try:
        return work()
    except (LeaseLost, JobFinished, WrongState, JobNotFound) as error:
        return type(error)


async def save_all(
    bench: Workbench, claimed: ClaimedShard, checkpoint: bytes, labels: dict[int, int], tokens: int
) -> None:
    """What a worker does at a step's end, in one unit of work."""
    progress = Progress(labeled=len(labels), tokens_computed=tokens)
    await bench.labels.write(claimed.lease, [label_state(row, label) for row, label in labels.items()])
    await bench.shards.save(claimed.lease, checkpoint=checkpoint, progress=progress)
    await bench.shards.spend(claimed.lease, Usage(tokens_computed=tokens), remembered=0)


async def states_of(desk: Desk, job_id: JobId) -> list[LabelState]:
    """Every row's label state."""
    return [replace(row.state) async for row in desk.labels.result(job_id)]
