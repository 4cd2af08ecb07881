"""The jobs that a training learns from: found, and fit to be learned from together."""

from collections.abc import Iterator, Sequence

from service.errors import Fault, InvalidConfig, JobNotFound
from service.identifiers import JobId
from service.jobs.reporting.report import report
from service.jobs.reporting.verdicts import Verdict
from service.jobs.task.comparison import comparison_of
from service.ports.store import ProjectStore
from service.records.jobs import Job, JobStatus
from service.trainings.request import WRONG, TrainingKind, TrainingRequest

_SHARED = ("labels", "template", "separator")  # of the tasks of jobs whose rows are learned together
_SHOWN_CHARACTERS = 60


async def read_sources(store: ProjectStore, request: TrainingRequest) -> list[Job]:
    """The jobs of a request. Raises InvalidConfig, which names every job at fault and its field."""
    jobs: list[Job] = []
    faults: list[Fault] = []
    for number, job_id in enumerate(request.job_ids):
        found = await _source(store, request, JobId(job_id))
        if isinstance(found, str):
            faults.append(Fault(found, field=f"job_ids.{number}"))
        else:
            jobs.append(found)
    if not faults:
        faults = list(_differences(jobs)) if request.kind is TrainingKind.LABEL else list(_lacking(jobs))
    if faults:
        raise InvalidConfig(WRONG, faults)
    return jobs


async def _source(store: ProjectStore, request: TrainingRequest, job_id: JobId) -> Job | str:
    """The job, or what is wrong with it."""
    try:
        async with store.project_unit() as unit:
            job = await unit.jobs.get(job_id)
    except JobNotFound:
        return f"there is no job {job_id!r}"
    if job.status is not JobStatus.SUCCEEDED:
        return f"the job {job_id} is {job.status}; its labels can be learned once it has succeeded"
    if request.force:
        return job
    judged = await report(store, job_id)
    if judged.verdict is not Verdict.DO_NOT_USE:
        return job
    why = next((reason.message for reason in judged.reasons if reason.verdict is Verdict.DO_NOT_USE), "")
    return f"the report of job {job_id} says do_not_use ({why}); with force: true its labels are learned all the same"


def _differences(jobs: Sequence[Job]) -> Iterator[Fault]:
    """What jobs have unlike whose rows are to be learned together."""
    first, *others = jobs
    for number, job in enumerate(others, 1):
        for name in _SHARED:
            own, wanted = getattr(job.config.task, name), getattr(first.config.task, name)
            if own != wanted:
                told = f"its task.{name} is {_shown(own)}, that of job {first.id} is {_shown(wanted)}"
                yield Fault(
                    f"the job {job.id} cannot be learned together with the first one: {told}; train on each by itself",
                    field=f"job_ids.{number}",
                )


def _lacking(jobs: Sequence[Job]) -> Iterator[Fault]:
    """Jobs that compare nothing, so that no pairs can be made of their rows."""
    for number, job in enumerate(jobs):
        if comparison_of(job.config.task) is None:
            yield Fault(
                f"the job {job.id} compares nothing: kind reward needs a relation antisymmetric in its task.relations",
                field=f"job_ids.{number}",
            )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
