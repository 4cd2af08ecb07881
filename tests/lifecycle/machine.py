"""A Hypothesis state machine: workers, callers and time act on jobs in any order; Postgres and the model must agree."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.errors import JobFinished, JobNotFound, LeaseLost, ServiceError, WrongState
from service.identifiers import JobId, WorkerId
from service.ports.store import ProjectUnit, WorkerUnit
from service.records.access import LOCAL_CALLER, Holdings
from service.records.jobs import Backoff, ClaimedShard, Event, Job, PauseReason, Progress
from service.records.labels import LabelState
from service.records.work import WorkStatus
from service.search.predictions.prompt_tree import Usage
from tests.lifecycle.model import LONG_SECONDS, Model, ModelJob
from tests.lifecycle.worlds import World
from tests.support.claiming import claim_shard
from tests.support.stored import CONFIG, NO_TIME, added, label_state

T = TypeVar("T")
WORKERS = st.sampled_from([WorkerId("alice"), WorkerId("bob"), WorkerId("carol")])
ENDS = st.sampled_from([WorkStatus.SUCCEEDED, WorkStatus.SUCCEEDED, WorkStatus.FAILED, WorkStatus.CANCELLED])
SIZES = st.lists(st.integers(1, 2), min_size=1, max_size=3)
BACK = st.sampled_from([0, 0, 0, 0, 1, 1, 1, 2, 3, 5])  # how many claims ago
WHICH = st.integers(0, 2)
MAX_JOBS = 3
PAUSE_REASONS = st.sampled_from([PauseReason.BACKEND_UNAVAILABLE, PauseReason.QUOTA_EXHAUSTED])
WAITS = st.sampled_from([0.0, LONG_SECONDS])


class WorkerDied(Exception):
    """A worker dies within a unit of work."""


def has_claims(machine: "LifeOfJobs") -> bool:
    """Whether any lease exists or existed."""
    return bool(machine.claims)


def rarely(machine: "LifeOfJobs") -> bool:
    """Make events that end many items rare, so that other jobs get far."""
    return len(machine.claims) % 4 == 3


class LifeOfJobs(RuleBasedStateMachine):
    """The rules are the actions of workers and callers. `back` and `which` choose among all leases and jobs so far:
    mostly the last ones, sometimes a lost lease or a deleted job.
    """

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.world.clear()
        self.model = Model()
        self.submitted: list[JobId] = []
        self.claims: list[ClaimedShard] = []
        self.ended: dict[JobId, Job] = {}

    def teardown(self) -> None:
        self.world.clear()

    @initialize(sizes=SIZES, anchor=st.booleans())
    def begin(self, sizes: list[int], anchor: bool) -> None:
        self.submit(sizes, anchor)

    @rule(sizes=SIZES, anchor=st.booleans())
    @precondition(lambda self: len(self.submitted) < MAX_JOBS)
    def submit(self, sizes: list[int], anchor: bool) -> None:
        job_id = self.in_project_unit(lambda unit: added(unit, *sizes, anchor=anchor))
        self.model.submit(job_id, len(self.submitted), sizes, anchor=anchor)
        self.submitted.append(job_id)

    @rule(worker=WORKERS)
    def claim(self, worker: WorkerId) -> None:
        self.model.tick()
        expected = self.model.claim(worker)
        found = self.in_worker_unit(lambda unit: claim_shard(unit, worker, LONG_SECONDS))
        if expected is None or found is None:
            assert (expected, found) == (None, None)
            return
        job, shard = expected
        index = shard.number
        assert (found.lease.job_id, found.lease.number, found.lease.epoch) == (job.id, index, shard.epoch)
        assert (found.checkpoint, found.rows, found.shards) == (
            job.checkpoints.get(index),
            len(job.rows[index]),
            len(job.shards),
        )
        assert found.progress.tokens_computed == job.tokens.get(index, 0)
        assert found.paused == (job.state.status == "paused")
        self.claims.append(found)

    @rule(worker=WORKERS, back=BACK)
    @precondition(has_claims)
    def die_and_be_replaced(self, worker: WorkerId, back: int) -> None:
        self.renew(back, NO_TIME)
        self.claim(worker)

    @rule(back=BACK, seconds=st.sampled_from([LONG_SECONDS, NO_TIME]))
    @precondition(has_claims)
    def renew(self, back: int, seconds: float) -> None:
        """Renew a lease for long; or for no time, like a worker that stalls and then dies."""
        claimed = self.claimed(back)
        lease = claimed.lease
        self.agree(lambda: self.model.renew(lease, seconds), lambda unit: unit.work.renew(lease, seconds))

    @rule(back=BACK, checkpoint=st.sampled_from([b"one", b"two"]), label=st.integers(0, 1), tokens=st.integers(0, 9))
    @precondition(has_claims)
    def save(self, back: int, checkpoint: bytes, label: int, tokens: int) -> None:
        claimed = self.claimed(back)
        labels = self.labels_of(claimed, label)
        self.agree(
            lambda: self.model.save(claimed.lease, checkpoint, labels, tokens),
            lambda unit: save_all(unit, claimed, checkpoint, labels, tokens),
        )

    @rule(back=BACK, label=st.integers(0, 1))
    @precondition(has_claims)
    def die_while_saving(self, back: int, label: int) -> None:
        """Die within a unit of work: nothing of it is stored."""

        claimed = self.claimed(back)

        async def half(unit: WorkerUnit) -> None:
            await save_all(unit, claimed, b"lost", self.labels_of(claimed, label), 99)
            raise WorkerDied

        try:
            self.in_worker_unit(half)
        except (WorkerDied, LeaseLost):
            return
        raise AssertionError("the unit of work came to its end")

    @rule(back=BACK, status=ENDS)
    @precondition(has_claims)
    def finish(self, back: int, status: WorkStatus) -> None:
        claimed = self.claimed(back)
        code = "BackendRefused" if status is WorkStatus.FAILED else None
        error = None if code is None else {"code": code, "message": "no"}
        self.agree(
            lambda: self.model.finish(claimed.lease, status, code),
            lambda unit: unit.work.finish(claimed.lease, status, error=error),
        )

    @rule(back=BACK, crashed=st.booleans())
    @precondition(has_claims)
    def release(self, back: int, crashed: bool) -> None:
        claimed = self.claimed(back)
        self.agree(
            lambda: self.model.release(claimed.lease, crashed=crashed),
            lambda unit: unit.work.release(claimed.lease, crashed=crashed),
        )

    @rule(back=BACK, seconds=WAITS, reason=PAUSE_REASONS)
    @precondition(has_claims)
    def suspend(self, back: int, seconds: float, reason: PauseReason) -> None:
        claimed = self.claimed(back)
        backoff = Backoff(first_seconds=seconds, longest_seconds=seconds)
        self.agree(
            lambda: self.model.pause(claimed.lease, reason, tried=claimed.paused, wait_seconds=seconds),
            lambda unit: unit.work.pause(
                claimed.lease, reason, "away", tried=claimed.paused, backoff=backoff, at_least_seconds=0.0
            ),
        )

    @rule(back=BACK)
    @precondition(has_claims)
    def resume_suspended(self, back: int) -> None:
        claimed = self.claimed(back)
        self.agree(lambda: self.model.resume(claimed.lease), lambda unit: unit.work.resume(claimed.lease))

    @precondition(rarely)
    @rule(which=WHICH)
    def pause(self, which: int) -> None:
        job_id = self.submitted[min(which, len(self.submitted) - 1)]
        self.agree_in_project_unit(job_id, self.model.pause_on_request, lambda unit: unit.jobs.pause(job_id))

    @rule(which=WHICH)
    def resume(self, which: int) -> None:
        job_id = self.submitted[min(which, len(self.submitted) - 1)]
        self.agree_in_project_unit(job_id, self.model.resume_on_request, lambda unit: unit.jobs.resume(job_id))

    @precondition(rarely)
    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        job_id = self.submitted[min(which, len(self.submitted) - 1)]
        self.agree_in_project_unit(job_id, self.model.cancel, lambda unit: unit.jobs.request_cancel(job_id))

    @rule(which=WHICH)
    def delete(self, which: int) -> None:
        job_id = self.submitted[min(which, len(self.submitted) - 1)]
        self.agree_in_project_unit(job_id, self.model.delete, lambda unit: unit.jobs.remove(job_id))
        if job_id not in self.model.jobs:
            self.ended.pop(job_id, None)

    @precondition(rarely)
    @rule()
    def let_time_pass(self) -> None:
        self.model.later()
        self.world.later()

    @invariant()
    def store_and_model_agree(self) -> None:
        usage, found = self.in_project_unit(everything)
        assert [one.job.id for one in found] == list(reversed(self.model.jobs))
        for one in found:
            self.compare(one, self.model.jobs[one.job.id])
        jobs = self.model.jobs.values()
        rows = sum(len(rows) for job in jobs for rows in job.rows)
        assert (usage.jobs_in_flight, usage.rows) == (sum(not job.state.status.is_final for job in jobs), rows)

    def compare(self, found: "Everything", expected: ModelJob) -> None:
        job, state = found.job, expected.state
        assert (job.status, job.cancel_requested, job.error) == (state.status, state.cancel_requested, state.error)
        assert (job.finished_at is None, job.config) == (not job.status.is_final, CONFIG)
        assert job.progress.tokens_computed == sum(expected.tokens.values())
        assert [event.sequence for event in found.events] == list(range(1, len(found.events) + 1))
        assert [event.type for event in found.events] == expected.events
        assert {state.position: state.label for state in found.labels if state.label is not None} == expected.labels
        if job.status.is_final:
            first = self.ended.setdefault(job.id, job)
            assert (first.status, first.finished_at, first.error) == (job.status, job.finished_at, job.error)

    def claimed(self, back: int) -> ClaimedShard:
        """The claim `back` claims ago; claims a new item first if the last lease is lost."""
        if back == 0 and not self.model.holds(self.claims[-1].lease):
            self.claim(WorkerId("dora"))
        return self.claims[-1 - min(back, len(self.claims) - 1)]

    def labels_of(self, claimed: ClaimedShard, label: int) -> dict[int, int]:
        job = self.model.jobs.get(claimed.lease.job_id)
        return {} if job is None else dict.fromkeys(job.rows[claimed.lease.number], label)

    def agree(self, expected: Callable[[], T], work: Callable[[WorkerUnit], Awaitable[T]]) -> None:
        """Check that Postgres and the model return the same, or raise the same error."""
        self.model.tick()
        assert outcome(lambda: self.in_worker_unit(work)) == outcome(expected)

    def agree_in_project_unit(
        self, job_id: JobId, expected: Callable[[ModelJob], None], work: Callable[[ProjectUnit], Awaitable[object]]
    ) -> None:
        self.model.tick()
        job = self.model.jobs.get(job_id)
        refused = JobNotFound if job is None else outcome(lambda: expected(job))
        found = outcome(lambda: self.in_project_unit(work))
        assert (found if isinstance(found, type) else None) == refused

    def in_project_unit(self, work: Callable[[ProjectUnit], Awaitable[T]]) -> T:
        async def unit() -> T:
            async with self.world.store.project_unit(LOCAL_CALLER) as unit:
                return await work(unit)

        return self.world.run(unit())

    def in_worker_unit(self, work: Callable[[WorkerUnit], Awaitable[T]]) -> T:
        async def unit() -> T:
            async with self.world.store.worker_unit() as unit:
                return await work(unit)

        return self.world.run(unit())


def outcome(work: Callable[[], T]) -> T | type[ServiceError]:
    """The result of `work`, or the type of its error."""
    try:
        return work()
    except (LeaseLost, JobFinished, WrongState, JobNotFound) as error:
        return type(error)


async def save_all(
    unit: WorkerUnit, claimed: ClaimedShard, checkpoint: bytes, labels: dict[int, int], tokens: int
) -> None:
    """Save checkpoint, labels and cost in one unit of work, as a worker does after a step."""
    progress = Progress(labeled=len(labels), tokens_computed=tokens)
    await unit.labels.write(claimed.lease, [label_state(row, label) for row, label in labels.items()])
    await unit.shards.save(claimed.lease, checkpoint=checkpoint, progress=progress)
    await unit.shards.spend(claimed.lease, Usage(tokens_computed=tokens), remembered=0)


@dataclass(frozen=True)
class Everything:
    """All that callers can see of a job."""

    job: Job
    events: list[Event]
    labels: list[LabelState]


async def everything(unit: ProjectUnit) -> tuple[Holdings, list[Everything]]:
    """All that callers can see of all jobs, read in one unit of work."""
    jobs = await unit.jobs.page(limit=100, before=None, status=None)
    found = [
        Everything(
            job=job,
            events=await unit.events.after(job.id, 0, limit=1000),
            labels=[row.state async for row in unit.labels.result(job.id)],
        )
        for job in jobs
        if isinstance(job, Job)
    ]
    return await unit.account.usage(), found
