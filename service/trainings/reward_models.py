"""The reward models that a training of kind policy needs: found, finished, and made for the same base."""

from collections.abc import Iterator, Mapping

from service.errors import Fault, TrainingNotFound
from service.identifiers import JobId
from service.ports.bases import Bases
from service.ports.store import ProjectStore
from service.records.jobs import JobStatus
from service.records.trainings import Training
from service.trainings.request import TrainingKind, TrainingMethod, TrainingRequest


async def find_reward_models(store: ProjectStore, request: TrainingRequest) -> tuple[dict[str, Training], list[Fault]]:
    """The trainings that a request names in `policy.reward` and `policy.judge`, and what is wrong with them."""
    found: dict[str, Training] = {}
    faults: list[Fault] = []
    for field, training_id in ({} if request.policy is None else request.policy.models).items():
        model = await _reward_model(store, training_id)
        if isinstance(model, str):
            faults.append(Fault(model, field=f"policy.{field}"))
        else:
            found[field] = model
    if len(found) > 1 and found["judge"].artifact == found["reward"].artifact:
        told = f"the training {found['judge'].id} has the very weights of the reward model; name one that learned apart"
        faults.append(Fault(told, field="policy.judge"))
    return found, faults


async def _reward_model(store: ProjectStore, training_id: str) -> Training | str:
    """The training, or what is wrong with it."""
    try:
        async with store.project_unit() as unit:
            training = await unit.trainings.get(JobId(training_id))
    except TrainingNotFound:
        return f"there is no training {training_id!r}"
    if (kind := training.config.get("kind", TrainingKind.LABEL)) != TrainingKind.REWARD:
        return f"the training {training_id} is of kind {kind}; name one of kind reward"
    if training.status is JobStatus.SUCCEEDED:
        return training
    if training.status.is_final:
        return f"the training {training_id} is {training.status}, so that it gives no rewards; name one that succeeded"
    return f"the training {training_id} is {training.status}; it gives rewards once it has succeeded"


def faults_of_bases(base: str, models: Mapping[str, Training], bases: Bases) -> Iterator[Fault]:
    """Adapters among the reward models that another base than the policy's was trained with.

    Two names for one place are one base. Whether its files are still the same, the training itself finds out.
    """
    for field, model in models.items():
        is_adapter = model.config.get("method", TrainingMethod.LORA) == TrainingMethod.LORA
        if is_adapter and bases.get(model.base, model.base) != bases.get(base, base):
            told = (
                f"the training {model.id} is an adapter of the base {model.base!r}, and the policy starts from "
                f"{base!r}; name one that was trained on {base!r}, or one of method full"
            )
            yield Fault(told, field=f"policy.{field}")


def doubts_of_judge(request: TrainingRequest, models: Mapping[str, Training]) -> Iterator[str]:
    """What makes the win rate worth little."""
    if request.policy is None:
        return
    if "judge" not in models:
        yield "without policy.judge, a second reward model, no win rate is measured: the gain in reward may be flattery"
        return
    jobs = [set(models[field].config["job_ids"]) for field in ("reward", "judge")]
    if shared := sorted(jobs[0] & jobs[1]):
        yield (
            f"reward model and judge learned from the same job ({shared[0]}), so that they may share its mistakes: "
            "the win rate shows less than that by a judge that learned from other pairs"
        )
