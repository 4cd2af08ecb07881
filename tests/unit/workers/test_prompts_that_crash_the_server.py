"""A prompt on which the inference server crashes is found, even if the server is away for minutes after each crash."""

from collections.abc import Callable, Sequence

import pytest

from service.errors import BackendUnavailable, FailureKind
from service.records.access import LOCAL_CALLER
from service.records.jobs import Job, JobStatus
from service.records.labels import LabelStatus
from service.records.scoring import BackendIdentity
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from tests.golden.case import submitted
from tests.support.running.workplace import Backend, Workplace

AWAY_SECONDS = 300.0
MOST_PAUSES = 60


class MortalBackend(Backend):
    """Dies over some prompts, and is away until somebody starts it again."""

    def __init__(self, is_fatal: Callable[[str], bool]) -> None:
        super().__init__()
        self.identity = BackendIdentity("deterministic")
        self.is_fatal = is_fatal
        self.crashes = 0

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        if self.failure is None and any(self.is_fatal(prompt) for _, prompt in tree.prompts()):
            self.die()
            error = BackendUnavailable("the connection broke", kind=FailureKind.DISCONNECTED)
            error.broke = True
            raise error
        return await super().score(tree, labels)

    def die(self) -> None:
        self.crashes += 1
        self.failure = BackendUnavailable("connection refused", kind=FailureKind.DISCONNECTED)


class Case:
    """A job about numbers on a backend that crashes."""

    def __init__(self, is_fatal: Callable[[str], bool]) -> None:
        self.backend = MortalBackend(is_fatal)
        self.workplace = Workplace(self.backend)

    async def ended(self, rows: int) -> Job:
        """The job at its end. Each time it is paused, its backend is started again after minutes."""
        config = {"task": {"template": "Is {n}. odd?", "labels": ["Yes", "No"], "id_field": "n"}}
        numbers = [{"n": str(1000 + number)} for number in range(rows)]
        job_id = await submitted(self.workplace.store, config, numbers)
        for pauses in range(MOST_PAUSES):
            while await self.workplace.another_worker(f"worker {pauses}").work_once():
                pass
            job = await self.workplace.job(job_id)
            if job.status.is_final:
                return job
            self.workplace.clock.advance(AWAY_SECONDS)
            self.backend.failure = None
        return job

    async def unlabeled(self, job: Job) -> list[int]:
        """The positions of the rows without a label."""
        async with self.workplace.store.project_unit(LOCAL_CALLER) as unit:
            rows = [row async for row in unit.labels.result(job.id)]
        return [row.state.position for row in rows if row.state.status is LabelStatus.UNLABELED]


@pytest.mark.parametrize("row", [0, 39])
async def test_one_fatal_row_is_left_out_after_a_few_crashes(row: int) -> None:
    case = Case(lambda prompt: f"Is {1000 + row}. odd?" in prompt)
    job = await case.ended(40)
    assert (job.status, await case.unlabeled(job)) == (JobStatus.SUCCEEDED, [row])
    assert case.backend.crashes <= 16
    assert "crashed each time it scored this prompt alone" in job.warnings[-1]


async def test_two_fatal_rows_are_left_out() -> None:
    case = Case(lambda prompt: "Is 1003. odd?" in prompt or "Is 1031. odd?" in prompt)
    job = await case.ended(40)
    assert (job.status, await case.unlabeled(job)) == (JobStatus.SUCCEEDED, [3, 31])
    assert case.backend.crashes <= 24


async def test_a_server_that_crashes_on_every_prompt_with_demonstrations_ends_the_job() -> None:
    case = Case(lambda prompt: prompt.count("odd?") > 3)
    job = await case.ended(40)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert "crashed each time it scored this prompt alone" in job.error["message"]
    assert "search.max_demonstrations" in job.error["message"]
    assert case.backend.crashes <= 16


async def test_a_demonstration_that_crashes_the_server_in_every_prompt_is_left_out() -> None:
    case = Case(lambda prompt: "Is 1005. odd?" in prompt)
    job = await case.ended(80)
    assert (job.status, await case.unlabeled(job)) == (JobStatus.SUCCEEDED, [5])


@pytest.mark.parametrize("rows", [1, 40])
async def test_a_server_that_crashes_on_every_prompt_of_the_job_ends_the_job(rows: int) -> None:
    case = Case(lambda prompt: "odd?" in prompt)
    assert (await case.ended(rows)).status is JobStatus.FAILED
    assert case.backend.crashes <= 16


@pytest.mark.parametrize("call", [2, 8])
async def test_a_server_that_crashes_once_costs_no_row_its_label(call: int) -> None:
    case = Case(lambda prompt: case.backend.crashes == 0 and case.backend.calls + 1 >= call)
    job = await case.ended(40)
    assert (job.status, await case.unlabeled(job), case.backend.crashes) == (JobStatus.SUCCEEDED, [], 1)
