"""What trainings have of their own beside the life of their job."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from service.identifiers import JobId
from service.records.jobs import JobStatus
from service.records.trainings import Artifact, NewTraining, Training, TrainingOrder, TrainingReport
from service.records.work import Lease


class Trainings(Protocol):
    """Trainings as the API sees them: those of one project. What belongs to others raises TrainingNotFound."""

    async def add(self, training: NewTraining) -> None:
        """Store a training as of now and queue it; workers are notified when the transaction commits."""

    async def get(self, training_id: JobId) -> Training:
        """The training as it is now. Raises TrainingNotFound."""

    async def page(self, *, limit: int, before: tuple[str, str] | None, status: JobStatus | None) -> list[Training]:
        """Trainings, newest first, older than the (created_at, id) given. Raises InvalidCursor."""

    async def report(self, training_id: JobId) -> TrainingReport:
        """What a training that has succeeded says of itself. Raises TrainingNotFound, TrainingNotFinished."""

    async def labelled_by(self, job_ids: Collection[JobId]) -> Mapping[JobId, str]:
        """The fingerprint of the backend that labelled each of these jobs of the project, where it is known."""

    async def request_cancel(self, training_id: JobId) -> Training:
        """Ask for it to stop, as for a job. Raises TrainingNotFound, JobFinished."""

    async def pause(self, training_id: JobId) -> Training:
        """Let it wait until a person resumes it, as a job. Raises TrainingNotFound, JobFinished."""

    async def resume(self, training_id: JobId) -> Training:
        """Let it go on, as a job. Raises TrainingNotFound, JobFinished."""

    async def remove(self, training_id: JobId) -> None:
        """Delete one that has ended; its files are the caller's to remove. Raises TrainingNotFound, WrongState."""


class TrainingsWrite(Protocol):
    """Trainings as workers see and write them, under their lease. Every call raises LeaseLost."""

    async def order(self, lease: Lease) -> TrainingOrder:
        """What is to be trained."""

    async def progress(self, lease: Lease, progress: Mapping[str, Any]) -> None:
        """Keep how far it is; what tells of it is written beside this."""

    async def save(self, lease: Lease, checkpoint: Artifact) -> None:
        """Name the stored files that another worker can go on from."""

    async def finish(
        self, lease: Lease, artifact: Artifact, *, manifest: Mapping[str, Any], report: Mapping[str, Any]
    ) -> None:
        """Name what was trained; from the commit on it can be downloaded. The job's end is told beside this."""


class ArtifactNames(Protocol):
    """Which files trainings still need, as whoever removes the others sees it."""

    async def named_artifacts(self, owners: Collection[JobId]) -> Mapping[JobId, frozenset[str] | None]:
        """The artifacts of those of these trainings that there are; None of one that has not ended and may get more."""
