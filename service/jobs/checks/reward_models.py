"""Checks whether a reward model can label a job, and finds the reward model that a request names."""

from collections.abc import Iterator

from service.config import JobConfig
from service.errors import Fault, InvalidConfig
from service.jobs.checks.finished_trainings import find_finished_training
from service.jobs.task.comparison import comparison_of
from service.ports.rewards import RewardScorer
from service.ports.scoring import Scorers
from service.ports.store import ProjectStore
from service.records.rewards import RewardModel
from service.records.training_kinds import TrainingKind
from service.relations.comparison import Comparison
from service.search.strategies.registry import Method

_METHOD = Method.REWARD_MODEL.value
_BINARY = 2


def reward_faults(config: JobConfig) -> Iterator[Fault]:
    """A fault for each field of a configuration that keeps a reward model from labelling its rows.

    A job of another method has a fault if its configuration names a reward model.
    """
    if not config.method.asks_rewards:
        if config.reward is not None:
            yield Fault(f"is for method {_METHOD!r}, and the method is {config.method.value!r}", field="reward")
        return
    if config.reward is None:
        yield Fault(f"is missing: method {_METHOD!r} needs the id of a training of kind reward", field="reward")
    task = config.task
    if len(task.labels) != _BINARY:
        message = (
            f"method {_METHOD!r} decides which of two texts is better, so it needs two labels; the task has "
            f"{len(task.labels)}"
        )
        yield Fault(message, field="task.labels")
    if task.shares:
        yield Fault(f"method {_METHOD!r} cannot keep shares of labels; leave them out", field="task.shares")
    yield from _relation_faults(config)


def _relation_faults(config: JobConfig) -> Iterator[Fault]:
    """A fault for each relation that rewards cannot keep: they order texts, by the columns of the comparison alone."""
    comparison = comparison_of(config.task)
    if comparison is None:
        message = (
            f"method {_METHOD!r} needs a relation antisymmetric, whose columns first and second hold the two texts"
        )
        yield Fault(message, field="task.relations")
        return
    kept = (comparison.columns, comparison.label or config.task.labels[0])
    for number, relation in enumerate(config.task.relations):
        own = (relation.columns, relation.label or config.task.labels[0])
        if not isinstance(relation, Comparison) or own != kept:
            yield Fault(
                f"method {_METHOD!r} keeps the first relation antisymmetric, and transitive over the same columns and "
                f"with the same label; it does not keep this relation {relation.kind}: leave it out",
                field=f"task.relations.{number}",
            )


async def chosen_reward_model(config: JobConfig, store: ProjectStore, scorers: Scorers) -> RewardModel | None:
    """The reward model that a configuration names; None where it names none. Raises InvalidConfig."""
    return None if config.reward is None else await find_reward_model(store, scorers.rewards, config.reward)


async def find_reward_model(store: ProjectStore, rewards: RewardScorer, training_id: str) -> RewardModel:
    """The reward model that a request names in its field `reward`. Raises InvalidConfig."""
    found = await _reward_model(store, training_id)
    problem = found if isinstance(found, str) else rewards.problem(found.base)
    if isinstance(found, str) or problem is not None:
        raise InvalidConfig(f"the reward model cannot be used: {problem}", [Fault(str(problem), field="reward")])
    return found


async def _reward_model(store: ProjectStore, training_id: str) -> RewardModel | str:
    """The reward model, or the reason why there is none to use."""
    found = await find_finished_training(store, training_id, TrainingKind.REWARD)
    if isinstance(found, str):
        return found
    return RewardModel.of(found) or f"the training {training_id} has made no reward model; train again"
