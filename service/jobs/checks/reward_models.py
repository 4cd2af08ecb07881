"""Whether a job can be labelled by a reward model, and which finished training that is."""

import re
from collections.abc import Iterator

from service.config import JobConfig
from service.errors import Fault, InvalidConfig, TrainingNotFinished, TrainingNotFound
from service.identifiers import JobId
from service.jobs.task.comparison import comparison_of
from service.ports.rewards import RewardScorer
from service.ports.scoring import Scorers
from service.ports.store import ProjectStore
from service.records.rewards import RewardModel
from service.relations.comparison import Comparison
from service.search.strategies.registry import Method

_TRAINING_ID = re.compile(r"train_[0-9a-f]{32}")
_METHOD = Method.REWARD_MODEL.value
_BINARY = 2


def reward_faults(config: JobConfig) -> Iterator[Fault]:
    """What a configuration has that a reward model cannot label by, field by field."""
    if not config.method.asks_rewards:
        if config.reward is not None:
            yield Fault(f"is for method {_METHOD!r}, and the method is {config.method.value!r}", field="reward")
        return
    if config.reward is None:
        yield Fault(f"is missing: method {_METHOD!r} needs the id of a training of kind reward", field="reward")
    task = config.task
    if len(task.labels) != _BINARY:
        told = f"method {_METHOD!r} tells which of two texts is better, so it needs two labels; there are"
        yield Fault(f"{told} {len(task.labels)}", field="task.labels")
    if task.shares:
        yield Fault(f"method {_METHOD!r} keeps no shares of labels; leave them out", field="task.shares")
    yield from _relation_faults(config)


def _relation_faults(config: JobConfig) -> Iterator[Fault]:
    """A reward orders texts, so that it keeps relations over the comparison's own columns, and no others."""
    comparison = comparison_of(config.task)
    if comparison is None:
        told = f"method {_METHOD!r} needs a relation antisymmetric, whose columns first and second hold the two texts"
        yield Fault(told, field="task.relations")
        return
    wanted = (comparison.columns, comparison.label or config.task.labels[0])
    for number, found in enumerate(config.task.relations):
        own = (found.columns, found.label or config.task.labels[0])
        if not isinstance(found, Comparison) or own != wanted:
            yield Fault(
                f"method {_METHOD!r} keeps the first relation antisymmetric, and transitive of the same columns and "
                f"label; it does not keep this relation {found.kind}: leave it out",
                field=f"task.relations.{number}",
            )


async def chosen_reward_model(config: JobConfig, store: ProjectStore, scorers: Scorers) -> RewardModel | None:
    """The reward model that a configuration names; None where it names none. Raises InvalidConfig."""
    return None if config.reward is None else await find_reward_model(store, scorers.rewards, config.reward)


async def find_reward_model(store: ProjectStore, rewards: RewardScorer, training_id: str) -> RewardModel:
    """The reward model that a request names in its field `reward`. Raises InvalidConfig."""
    found = await _found(store, training_id)
    told = found if isinstance(found, str) else rewards.problem(found.base)
    if isinstance(found, str) or told is not None:
        raise InvalidConfig(f"the reward model cannot be used: {told}", [Fault(str(told), field="reward")])
    return found


async def _found(store: ProjectStore, training_id: str) -> RewardModel | str:
    """The reward model, or what is wrong with it."""
    missing = f"there is no training {training_id!r}"
    if not _TRAINING_ID.fullmatch(training_id):
        return f"{missing}; the id of a training is train_ and 32 digits, as `icm trainings` lists it"
    try:
        async with store.project_unit() as unit:
            told = await unit.trainings.report(JobId(training_id))
    except TrainingNotFound:
        return missing
    except TrainingNotFinished as error:
        return f"{error}, and only then can it be used"
    model = RewardModel.of(told)
    if model is None:
        kind = told.training.config.get("kind", "label")
        return f"the training {training_id} is of kind {kind}; name one of kind reward"
    return model
