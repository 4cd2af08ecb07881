"""Removes a job of the twin with all that belongs to it."""

from service.entities import Job
from service.identifiers import JobId
from service.storage.memory.state import State


def erase(state: State, job_id: JobId) -> None:
    """Drop a job, and its data set where no other job has it. Raises JobNotFound."""
    job = state.job(job_id)
    _erase_rows(state, job)
    state.jobs.drop(job_id)
    state.owners.drop(job_id)
    state.events.drop(job_id)
    state.pauses.drop(job_id)
    state.drop_deliveries_of(job_id)
    for record in state.shards_of(job_id):
        state.shards.drop((job_id, record.index))
    for key, used in state.keys.items():
        if used.request.job_id == job_id:
            state.keys.drop(key)


def _erase_rows(state: State, job: Job) -> None:
    rows = state.rows.get(job.dataset_id) or ()
    for row in rows:
        state.labels.drop((job.id, row.position))
    if sum(other.dataset_id == job.dataset_id for _, other in state.jobs.items()) > 1:
        return
    state.datasets.drop(job.dataset_id)
    state.owners.drop(job.dataset_id)
    state.rows.drop(job.dataset_id)
    for row in rows:
        state.gold.drop((job.dataset_id, row.position))
