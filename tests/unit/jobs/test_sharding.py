from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.config import JobConfig
from service.jobs.sharding import ShardPlan, plan_shards


def config_with(**search: Any) -> JobConfig:
    method = search.pop("method", "icm")
    return JobConfig.model_validate({"task": {"template": "{x}"}, "method": method, "search": search})


def rows_of(plan: ShardPlan, shard: int) -> list[int]:
    return [row for row, number in enumerate(plan.shard_of_row) if number == shard]


@pytest.mark.parametrize(("rows", "shards"), [(1, 1), (64, 1), (65, 3)])
def test_a_data_set_of_up_to_twice_the_anchor_is_one_shard(rows: int, shards: int) -> None:
    plan = plan_shards(config_with(anchor_rows=32, shard_rows=20), list(range(rows)))
    assert len(plan.shards) == shards
    assert not plan.shards[0].blocked


@pytest.mark.parametrize("method", ["icm", "bootstrap"])
def test_later_shards_wait_for_the_anchor(method: str) -> None:
    plan = plan_shards(config_with(method=method), list(range(1000)))
    assert [shard.rows for shard in plan.shards] == [128, 256, 256, 256, 104]
    assert [shard.blocked for shard in plan.shards] == [False] + [True] * (len(plan.shards) - 1)


def test_the_anchor_covers_the_whole_data_set() -> None:
    anchor = rows_of(plan_shards(config_with(), list(range(1000))), 0)
    assert all(any(start <= row < start + 100 for row in anchor) for start in range(0, 1000, 100))


@pytest.mark.parametrize("method", ["zero_shot", "few_shot_random"])
def test_methods_that_read_no_labels_need_no_anchor(method: str) -> None:
    plan = plan_shards(config_with(method=method), list(range(1000)))
    assert [shard.rows for shard in plan.shards] == [256, 256, 256, 232]
    assert not any(shard.blocked for shard in plan.shards)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_row_is_in_one_shard_with_all_its_relations_and_no_shard_is_too_long(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 400))
    groups = sorted(data.draw(st.lists(st.integers(0, 150), min_size=count, max_size=count)))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    groups = [numbers[group] for group in groups]
    plan = plan_shards(config_with(anchor_rows=64, shard_rows=50), groups)
    shards_of_group: dict[int, set[int]] = {}
    for group, shard in zip(groups, plan.shard_of_row, strict=True):
        shards_of_group.setdefault(group, set()).add(shard)
    assert all(len(shards) == 1 for shards in shards_of_group.values())
    assert sum(shard.rows for shard in plan.shards) == count
    for number in range(len(plan.shards)) if len(plan.shards) > 1 else ():
        members = rows_of(plan, number)
        single_group = len({groups[row] for row in members}) == 1
        assert single_group or len(members) <= (50 if number else 64)
