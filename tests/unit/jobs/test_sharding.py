from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.labelling.configuration import parse_config
from service.config import JobConfig
from service.identifiers import Label, Row
from service.jobs.submission.sharding import ShardPlan, plan_shards
from tests.long import examples


def config_with(**search: Any) -> JobConfig:
    method = search.pop("method", "icm")
    return parse_config({"task": {"template": "{x}"}, "method": method, "search": search})


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


@settings(max_examples=examples(60), deadline=None)
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


def known(*rows: int, label: int = 0) -> dict[Row, Label]:
    return dict.fromkeys(map(Row, rows), Label(label))


def test_known_rows_come_into_the_anchor_with_their_whole_groups() -> None:
    groups = [row // 2 for row in range(1000)]
    plan = plan_shards(config_with(anchor_rows=32), groups, known(3, 500, 997))
    anchor = rows_of(plan, 0)
    assert {2, 3, 500, 501, 996, 997} <= set(anchor)
    assert len(anchor) == 32


def test_known_rows_leave_room_in_the_anchor_for_rows_to_be_labelled() -> None:
    sure = known(*range(0, 600, 2))
    plan = plan_shards(config_with(anchor_rows=32), list(range(1000)), sure)
    anchor = rows_of(plan, 0)
    assert len(anchor) == 32
    assert sum(row in sure for row in anchor) == 16
    assert all(any(start <= row < start + 250 for row in anchor if row not in sure) for start in range(0, 1000, 250))


def test_a_rare_known_label_is_not_crowded_out_of_the_anchor() -> None:
    sure = known(*range(400)) | known(777, 888, label=1)
    anchor = rows_of(plan_shards(config_with(anchor_rows=32), list(range(1000)), sure), 0)
    assert {777, 888} <= set(anchor)


def test_an_anchor_has_rows_to_label_though_their_groups_are_large() -> None:
    groups = [*range(40), *(40 + row // 60 for row in range(600))]
    plan = plan_shards(config_with(anchor_rows=32), groups, known(*range(40)))
    anchor = rows_of(plan, 0)
    assert sum(row < 40 for row in anchor) == 16
    assert len(anchor) == 76


def test_a_group_of_known_rows_that_is_larger_than_the_anchor_stays_out_of_it() -> None:
    groups = [0] * 50 + list(range(1, 301))
    anchor = rows_of(plan_shards(config_with(anchor_rows=32), groups, known(*range(50)) | known(100)), 0)
    assert 100 in anchor
    assert all(row >= 50 for row in anchor)


@pytest.mark.parametrize("rows", [50, 1000])
@pytest.mark.parametrize("method", ["icm", "zero_shot"])
def test_without_known_rows_shards_are_what_they_were(method: str, rows: int) -> None:
    groups = [row // 3 for row in range(rows)]
    assert plan_shards(config_with(method=method), groups, {}) == plan_shards(config_with(method=method), groups)
