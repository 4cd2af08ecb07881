"""Reads the jobs and reward models that a training learns from, and checks that one training can use them together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from service.errors import Fault, InvalidConfig, JobNotFound
from service.identifiers import JobId, is_training_id
from service.jobs.reporting.report import report
from service.jobs.reporting.verdicts import Verdict
from service.jobs.task.comparison import comparison_of
from service.ports.store import ProjectStore
from service.records.jobs import Job, JobStatus
from service.records.training_kinds import TrainingKind
from service.records.trainings import Training
from service.trainings.prompts import lacking_columns
from service.trainings.request import WRONG, TrainingRequest
from service.trainings.reward_models import find_reward_models

_SHARED = ("labels", "template", "separator")  # fields of the task in which all jobs must agree
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Sources:
    """The jobs of a request, and for kind policy the reward model and the judge, by the fields that name them."""

    jobs: Sequence[Job]
    reward_models: Mapping[str, Training]

    @property
    def model_ids(self) -> dict[str, JobId]:
        """The ids of the reward models by their fields."""
        return {field: model.id for field, model in self.reward_models.items()}

    @property
    def model_jobs(self) -> dict[str, tuple[str, ...]]:
        """The jobs that each of them learned from, by its field."""
        return {field: tuple(model.config["job_ids"]) for field, model in self.reward_models.items()}


async def read_sources(store: ProjectStore, request: TrainingRequest) -> Sources:
    """The sources of a request. Raises InvalidConfig with a fault for each unusable one, by its field."""
    jobs: list[Job] = []
    models, faults = await find_reward_models(store, request)
    for number, job_id in enumerate(request.job_ids):
        found = await _source(store, request, JobId(job_id))
        if isinstance(found, str):
            faults.append(Fault(found, field=f"job_ids.{number}"))
        else:
            jobs.append(found)
    if not faults:
        faults = await _unfit(store, request, jobs)
    if faults:
        raise InvalidConfig(WRONG, faults)
    return Sources(jobs, models)


async def _unfit(store: ProjectStore, request: TrainingRequest, jobs: Sequence[Job]) -> list[Fault]:
    """A fault for each reason why this kind of training cannot use these jobs."""
    match request.kind:
        case TrainingKind.LABEL:
            return list(_differences(jobs))
        case TrainingKind.REWARD:
            return list(_without_comparisons(jobs))
        case TrainingKind.POLICY:
            return await lacking_columns(store, request, jobs)
        case _:
            assert_never(request.kind)


async def _source(store: ProjectStore, request: TrainingRequest, job_id: JobId) -> Job | str:
    """The job, or the reason why a training cannot use it."""
    try:
        async with store.project_unit() as unit:
            job = await unit.jobs.get(job_id)
    except JobNotFound:
        return _missing(job_id)
    if job.status is not JobStatus.SUCCEEDED:
        return f"the job {job_id} is {job.status}; its {_learned(request)} can be learned once it has succeeded"
    if request.force or request.kind is TrainingKind.POLICY:  # a policy reads no labels
        return job
    judged = await report(store, job_id)
    if judged.verdict is not Verdict.DO_NOT_USE:
        return job
    why = next((reason.message for reason in judged.reasons if reason.verdict is Verdict.DO_NOT_USE), "")
    remedy = "to train on its labels all the same, set `force` (icm train --force)"
    return f"the report of job {job_id} says do_not_use ({why}); {remedy}"


def _missing(job_id: JobId) -> str:
    if is_training_id(job_id):
        return f"{job_id} is the id of a training, which has no labels; name the jobs that it learned from, or others"
    return f"there is no job {job_id!r}; it was deleted, or the project never had it"


def _learned(request: TrainingRequest) -> str:
    return "prompts" if request.kind is TrainingKind.POLICY else "labels"


def _differences(jobs: Sequence[Job]) -> Iterator[Fault]:
    """A fault for every shared field in which a job differs from the first one."""
    first, *others = jobs
    for number, job in enumerate(others, 1):
        for name in _SHARED:
            own, wanted = getattr(job.config.task, name), getattr(first.config.task, name)
            if own != wanted:
                difference = f"its task.{name} is {_shown(own)}, that of job {first.id} is {_shown(wanted)}"
                yield Fault(
                    f"the job {job.id} cannot be learned together with the first one: {difference}; "
                    "train on each by itself",
                    field=f"job_ids.{number}",
                )


def _without_comparisons(jobs: Sequence[Job]) -> Iterator[Fault]:
    """A fault for every job without comparisons, whose rows make no pairs."""
    for number, job in enumerate(jobs):
        if comparison_of(job.config.task) is None:
            yield Fault(
                f"the job {job.id} compares nothing: kind reward needs a relation antisymmetric in its task.relations",
                field=f"job_ids.{number}",
            )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
