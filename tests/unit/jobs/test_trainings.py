"""Jobs whose strategy trains, before they run: permission, numbers that leave nothing to train on, and cost."""

from typing import Any

import pytest

from api.labelling.configuration import parse_config
from service.config import JobConfig
from service.errors import InvalidConfig
from service.identifiers import Label, Row
from service.jobs.checks.trainings import MOST_ROWS, check_trainings
from service.jobs.submission.estimate import Estimate, estimate
from service.jobs.submission.sharding import plan_shards
from service.scoring.registry import ConfiguredScorers
from tests.support.sources import CountingScorer, PretendTrainer, config, source

PAIRS: dict[str, Any] = {
    "template": "Is {a} larger than {b}? It is",
    "relations": [{"kind": "antisymmetric", "first": "a", "second": "b"}],
    "labels": ["Yes", "No"],
}


def pairs(count: int) -> list[dict[str, int]]:
    return [{"a": n + s, "b": n + 1 - s} for n in range(0, 2 * count, 2) for s in (0, 1)]


async def estimated(chosen: JobConfig, *rows: object, trainer: PretendTrainer | None = None) -> Estimate:
    trainers = {} if trainer is None else {"default": trainer}
    scorers = ConfiguredScorers({"default": CountingScorer()}, trainers)
    return await estimate(chosen, source(*rows), scorers)


async def refused(
    search: dict[str, Any], *rows: object, trainer: PretendTrainer | None = None
) -> list[tuple[str, str]]:
    """Fields at fault with what is said of them."""
    with pytest.raises(InvalidConfig) as error:
        await estimated(config(search=search, **PAIRS), *rows, trainer=trainer)
    return [(fault.field or "", fault.message) for fault in error.value.faults]


@pytest.mark.parametrize("strategy", ["scalable", "iterative"])
async def test_without_a_base_that_may_be_trained_it_is_refused_with_what_to_do(strategy: str) -> None:
    [(field, message)] = await refused({"strategy": strategy, "batch_rows": 4}, *pairs(10))
    assert field == "search.strategy"
    assert "ICM_TRAINING__BASES" in message
    assert "'default'" in message
    assert "take strategy 'folds'" in message


async def test_the_reason_why_training_is_impossible_is_reported() -> None:
    trainer = PretendTrainer(problem="training needs peft, which is not installed here: install the extra `training`")
    [(field, message)] = await refused({"strategy": "scalable"}, *pairs(10), trainer=trainer)
    assert field == "search.strategy"
    assert "install the extra `training`; or take strategy 'folds'" in message


async def test_fewer_groups_than_folds_are_refused() -> None:
    [(field, message)] = await refused({"strategy": "scalable", "folds": 5}, *pairs(4), trainer=PretendTrainer())
    assert field == "search.folds"
    assert message == "5 folds need as many groups of related rows, and the data set has 4: lower search.folds"
    [(_, message)] = await refused({"strategy": "scalable", "folds": 2}, *pairs(1), trainer=PretendTrainer())
    assert "nothing can be trained" in message


@pytest.mark.parametrize(("field", "value"), [("folds", 1), ("folds", 101), ("rounds", 0), ("batch_rows", 1)])
def test_numbers_that_make_no_sense_are_refused(field: str, value: int) -> None:
    with pytest.raises(InvalidConfig) as caught:
        config(search={"strategy": "scalable", field: value})
    assert [fault.field for fault in caught.value.faults] == [f"search.{field}"]


async def test_a_single_batch_is_refused() -> None:
    [(field, message)] = await refused(
        {"strategy": "iterative", "batch_rows": 20}, *pairs(10), trainer=PretendTrainer()
    )
    assert field == "search.batch_rows"
    assert message.endswith("lower search.batch_rows")


@pytest.mark.parametrize("strategy", ["folds", "iterative"])
def test_a_random_start_is_for_scalable_alone(strategy: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        config(search={"strategy": strategy, "start": "random"})
    told = f"start 'random' is for strategy 'scalable', not for '{strategy}'"
    assert [fault.message for fault in caught.value.faults] == [told]


async def test_a_baseline_needs_no_trainer_whatever_the_strategy_says() -> None:
    chosen = parse_config({"task": PAIRS, "method": "zero_shot", "search": {"strategy": "scalable"}})
    assert (await estimated(chosen, *pairs(10))).usage.trainings == 0


async def test_more_rows_than_one_search_holds_are_refused() -> None:
    groups = range(MOST_ROWS + 1)
    with pytest.raises(InvalidConfig, match=f"{MOST_ROWS} at most, and there are {MOST_ROWS + 1}"):
        await check_trainings(config(search={"strategy": "scalable"}), groups, PretendTrainer())
    await check_trainings(config(search={"strategy": "scalable"}), groups[:MOST_ROWS], PretendTrainer())
    await check_trainings(config(), groups, None)


@pytest.mark.parametrize("strategy", ["scalable", "iterative"])
def test_all_rows_are_searched_together(strategy: str) -> None:
    known = {Row(3): Label(0)}
    plan = plan_shards(config(search={"strategy": strategy, "anchor_rows": 8}), range(1000), known)
    assert [shard.rows for shard in plan.shards] == [1000]
    assert not plan.shards[0].blocked


async def test_trainings_are_part_of_the_estimate() -> None:
    search = {"strategy": "scalable", "anchor_rows": 20, "rounds": 3}
    found = await estimated(config(search=search, **PAIRS), *pairs(30), trainer=PretendTrainer())
    rounds, rest = divmod(found.usage.trainings - 2, 4)
    assert (found.shards, rest) == (1, 0)
    assert 1 <= rounds <= 3
    row = 9  # words with the label and the separator
    assert found.usage.tokens_trained == pytest.approx(row * (rounds * 3 * 3 * 60 + 2 * 30), rel=0.2)
    assert found.usage.tokens_trained < found.usage.tokens_computed < found.usage.tokens_sent


async def test_the_estimate_of_batches_has_a_training_for_each_but_the_first() -> None:
    search = {"strategy": "iterative", "batch_rows": 20}
    found = await estimated(config(search=search, **PAIRS), *pairs(50), trainer=PretendTrainer())
    assert found.usage.trainings == 4 + 2
