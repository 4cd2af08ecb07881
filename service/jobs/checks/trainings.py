"""Whether a job whose strategy trains can be run here, and whether its numbers leave anything to train."""

from collections.abc import Iterator, Sequence

from service.config import JobConfig
from service.errors import Fault, InvalidConfig
from service.identifiers import is_training_id
from service.ports.trained_scores import TrainedScorer
from service.search.strategies.registry import StrategyName
from service.values import by_number, counted

MOST_ROWS = 100_000  # in one search, whose state is stored whole with every round
_INSTEAD = "or take strategy 'folds', which does without"


async def check_trainings(config: JobConfig, groups: Sequence[int], trainer: TrainedScorer | None) -> None:
    """Nothing where the strategy does not train; `groups` has each row's group. Raises InvalidConfig."""
    if not config.trains:
        return
    faults = list(_faults(config, groups))
    if (reason := await _why_not(config, trainer)) is not None:
        faults.insert(0, Fault(f"{reason}; {_INSTEAD}", field="search.strategy"))
    if faults:
        raise InvalidConfig("; ".join(fault.message for fault in faults), faults)


async def _why_not(config: JobConfig, trainer: TrainedScorer | None) -> str | None:
    if trainer is not None:
        return await trainer.problem()
    if is_training_id(config.model):
        return (
            f"strategy {config.search.strategy.value!r} trains a language model from its beginning, and the model is "
            f"the adapter of {config.model}: name its base as the model"
        )
    return (
        f"strategy {config.search.strategy.value!r} trains a language model, and the operator has named none that may "
        f"be trained for the model {config.model!r}: ICM_TRAINING__BASES names its folder or hub name"
    )


def _faults(config: JobConfig, groups: Sequence[int]) -> Iterator[Fault]:
    search, rows = config.search, len(groups)
    if rows > MOST_ROWS:
        yield Fault(
            f"strategy {search.strategy.value!r} searches all rows together, {MOST_ROWS} at most, and there are "
            f"{rows}: send a part of them, and the others with strategy 'folds'",
            field="search.strategy",
        )
    if search.strategy is StrategyName.SCALABLE and (count := len(set(groups))) < search.folds:
        yield Fault(
            f"{counted(search.folds, 'fold')} {by_number(search.folds, 'needs', 'need')} as many groups of related "
            f"rows, and the data set has {count}: "
            f"{'lower search.folds' if count > 1 else 'related rows are never parted, so that nothing can be trained'}",
            field="search.folds",
        )
    if search.strategy is StrategyName.ITERATIVE and rows <= search.batch_rows:
        yield Fault(
            f"{by_number(rows, 'the only row fits', f'all {rows} rows fit')} into one batch of {search.batch_rows}, "
            "so that nothing would be trained: lower search.batch_rows",
            field="search.batch_rows",
        )
