"""Finds the reward model and the judge that a training of kind policy names, and checks that they fit together."""

from collections.abc import Iterator, Mapping

from service.errors import Fault
from service.jobs.checks.finished_trainings import find_finished_training
from service.ports.bases import Bases
from service.ports.store import ProjectStore
from service.records.training_kinds import TrainingKind
from service.records.trainings import Training
from service.trainings.request import TrainingMethod, TrainingRequest


async def find_reward_models(store: ProjectStore, request: TrainingRequest) -> tuple[dict[str, Training], list[Fault]]:
    """The trainings that a request names in `policy.reward` and `policy.judge`, and a fault for each unusable one."""
    models: dict[str, Training] = {}
    faults: list[Fault] = []
    for field, training_id in ({} if request.policy is None else request.policy.models).items():
        found = await find_finished_training(store, training_id, TrainingKind.REWARD)
        if isinstance(found, str):
            faults.append(Fault(found, field=f"policy.{field}"))
        else:
            models[field] = found.training
    if len(models) > 1 and models["judge"].artifact == models["reward"].artifact:
        message = f"the training {models['judge'].id} has the same weights as the reward model; name another training"
        faults.append(Fault(message, field="policy.judge"))
    return models, faults


def faults_of_bases(base: str, models: Mapping[str, Training], bases: Bases) -> Iterator[Fault]:
    """A fault for each reward model that is an adapter of another base than the policy's.

    Two names of one place are one base. The training itself finds out whether the base's files have changed.
    """
    for field, model in models.items():
        is_adapter = model.config.get("method", TrainingMethod.LORA) == TrainingMethod.LORA
        if is_adapter and bases.get(model.base, model.base) != bases.get(base, base):
            message = (
                f"the training {model.id} is an adapter of the base {model.base!r}, and the policy starts from "
                f"{base!r}; name one that was trained on {base!r}, or one of method full"
            )
            yield Fault(message, field=f"policy.{field}")


def doubts_of_judge(request: TrainingRequest, models: Mapping[str, Training]) -> Iterator[str]:
    """Warnings about a judge that is missing, or that learned from the reward model's jobs."""
    if request.policy is None:
        return
    if "judge" not in models:
        yield (
            "without policy.judge, a second reward model, no win rate is measured, so nothing shows whether "
            "completions become better or only score higher"
        )
        return
    jobs = [set(models[field].config["job_ids"]) for field in ("reward", "judge")]
    if shared := sorted(jobs[0] & jobs[1]):
        yield (
            f"reward model and judge learned from the same job ({shared[0]}), so they may share its mistakes: "
            "a judge that learned from other pairs makes the win rate worth more"
        )
