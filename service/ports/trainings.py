"""The store of trainings: their data beside the job, as Protocols for the API, workers and the sweep."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from service.identifiers import JobId
from service.records.jobs import JobStatus
from service.records.trainings import Artifact, NewTraining, Training, TrainingOrder, TrainingReport
from service.records.work import Lease


class Trainings(Protocol):
    """A project's trainings, for the API. A training of another project raises TrainingNotFound."""

    async def add(self, training: NewTraining) -> None:
        """Store a new training and queue it; the store notifies workers when the transaction commits."""

    async def get(self, training_id: JobId) -> Training:
        """The training as it is now. Raises TrainingNotFound."""

    async def page(self, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None) -> list[Training]:
        """Trainings, newest first, older than the (created_at, id) given. Raises InvalidCursor."""

    async def report(self, training_id: JobId) -> TrainingReport:
        """The report of a training that has succeeded. Raises TrainingNotFound, TrainingNotFinished."""

    async def labelled_by(self, job_ids: Collection[JobId]) -> Mapping[JobId, str]:
        """The fingerprint of the backend that labelled each of these jobs of the project, where it is known."""

    async def request_cancel(self, training_id: JobId) -> Training:
        """Cancel it like a job. Raises TrainingNotFound, JobFinished."""

    async def pause(self, training_id: JobId) -> Training:
        """Pause it like a job. Raises TrainingNotFound, JobFinished."""

    async def resume(self, training_id: JobId) -> Training:
        """Resume it like a job. Raises TrainingNotFound, JobFinished."""

    async def hold(self, training_id: JobId) -> None:
        """Keep it from being removed until this unit of work ends. Raises TrainingNotFound."""

    async def remove(self, training_id: JobId) -> None:
        """Delete one that has ended and that no other needs; the caller deletes its files.

        Raises TrainingNotFound, WrongState.
        """


class TrainingsWrite(Protocol):
    """Trainings, for the workers that lease them. Every call raises LeaseLost."""

    async def order(self, lease: Lease) -> TrainingOrder:
        """The worker's order: base, specification and artifacts to start from."""

    async def finished(self, lease: Lease, training_id: JobId) -> TrainingReport:
        """Another training of the same project, which has succeeded. Raises TrainingNotFound, TrainingNotFinished."""

    async def progress(self, lease: Lease, progress: Mapping[str, Any]) -> None:
        """Store the training's progress; the caller writes the event."""

    async def save(self, lease: Lease, checkpoint: Artifact) -> None:
        """Store the name of the checkpoint from which another worker can resume."""

    async def finish(
        self, lease: Lease, artifact: Artifact, *, manifest: Mapping[str, Any], report: Mapping[str, Any]
    ) -> None:
        """Store the artifact's name, the manifest and the report; the caller ends the work item.

        From the commit on, the API offers the artifact for download.
        """
