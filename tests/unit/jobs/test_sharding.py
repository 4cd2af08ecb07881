from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.config import JobConfig
from service.jobs.sharding import ANCHOR_SHARE, SHARD_SHARE, ShardPlan, plan_shards


def config_with(**search: Any) -> JobConfig:
    method = search.pop("method", "icm")
    return JobConfig.model_validate({"task": {"template": "{x}"}, "method": method, "search": search})


def rows_of(plan: ShardPlan, shard: int) -> list[int]:
    return [row for row, number in enumerate(plan.shard_of_row) if number == shard]


def test_a_data_set_that_fits_one_prompt_is_one_shard() -> None:
    plan = plan_shards(config_with(), list(range(100)), [10] * 100, 4096)
    assert len(plan.shards) == 1
    assert not plan.shards[0].blocked


def test_later_shards_wait_for_the_anchor() -> None:
    plan = plan_shards(config_with(), list(range(1000)), [10] * 1000, 4096)
    assert [shard.blocked for shard in plan.shards] == [False] + [True] * (len(plan.shards) - 1)


def test_the_anchor_covers_the_whole_data_set() -> None:
    anchor = rows_of(plan_shards(config_with(), list(range(1000)), [10] * 1000, 4096), 0)
    assert all(any(start <= row < start + 100 for row in anchor) for start in range(0, 1000, 100))


def test_zero_shot_needs_no_anchor() -> None:
    plan = plan_shards(config_with(method="zero_shot"), list(range(1000)), [10] * 1000, 4096)
    assert not any(shard.blocked for shard in plan.shards)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_row_is_in_one_shard_with_all_its_relations_and_no_shard_is_too_long(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 400))
    groups = sorted(data.draw(st.lists(st.integers(0, 150), min_size=count, max_size=count)))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    groups = [numbers[group] for group in groups]
    tokens = [data.draw(st.integers(1, 60))] * count
    plan = plan_shards(config_with(anchor_rows=64, shard_rows=50), groups, tokens, 2000)
    shards_of_group: dict[int, set[int]] = {}
    for group, shard in zip(groups, plan.shard_of_row, strict=True):
        shards_of_group.setdefault(group, set()).add(shard)
    assert all(len(shards) == 1 for shards in shards_of_group.values())
    assert sum(shard.rows for shard in plan.shards) == count
    for number in range(len(plan.shards)) if len(plan.shards) > 1 else ():
        members = rows_of(plan, number)
        share = SHARD_SHARE if number else ANCHOR_SHARE
        single_group = len({groups[row] for row in members}) == 1
        assert single_group or sum(tokens[row] for row in members) <= share * 2000
