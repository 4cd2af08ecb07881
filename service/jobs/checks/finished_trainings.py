"""Finds the finished training that a request names, or says why the request cannot use it."""

from service.errors import TrainingNotFinished, TrainingNotFound
from service.identifiers import JobId, is_training_id
from service.ports.store import ProjectStore
from service.records.training_kinds import TrainingKind
from service.records.trainings import Training, TrainingReport


async def find_finished_training(store: ProjectStore, training_id: str, kind: TrainingKind) -> TrainingReport | str:
    """The project's finished training of this kind, or the reason why a request cannot use it, as a fault's message."""
    missing = f"there is no training {training_id!r}"
    if not is_training_id(training_id):
        return f"{missing}: its id is train_ and 32 hexadecimal digits, as `icm trainings` lists it"
    try:
        async with store.project_unit() as unit:
            try:
                found = await unit.trainings.report(JobId(training_id))
            except TrainingNotFinished:
                training = await unit.trainings.get(JobId(training_id))
                return _other_kind(training, kind) or _unfinished(training)
    except TrainingNotFound:
        return f"{missing}; it was deleted, or the project never had it"
    return _other_kind(found.training, kind) or found


def _other_kind(training: Training, kind: TrainingKind) -> str | None:
    """The message for a training of another kind; None for one of this kind."""
    own = training.config.get("kind", TrainingKind.LABEL)  # the first releases stored no kind
    if own == kind:
        return None
    purpose = next((f", which {known.purpose}" for known in TrainingKind if known == own), "")
    return f"the training {training.id} is of kind {own}{purpose}; name one of kind {kind}"


def _unfinished(training: Training) -> str:
    advice = "name one that has succeeded" if training.status.is_final else "it can be used once it has succeeded"
    return f"the training {training.id} is {training.status}; {advice}"
