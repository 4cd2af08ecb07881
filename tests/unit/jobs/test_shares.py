import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.config import Task
from service.identifiers import Label, Row
from service.jobs.task.shares import decided_by_shares, shares_of_shard
from service.search.moves.cardinality import counts_within
from tests.long import examples
from tests.support.sources import config, faults_of, survey

PAIR = {"kind": "antisymmetric", "first": "a", "second": "b"}


def task(**shares: object) -> Task:
    return config("{q}", labels=["yes", "no"], known_field="sure", shares=shares).task


def known(yes: int, no: int = 0) -> dict[Row, Label]:
    return {Row(n): Label(n >= yes) for n in range(yes + no)}


def test_a_shard_of_all_rows_has_the_shares_as_they_are() -> None:
    shares = shares_of_shard(task(yes=[0.3, 0.7], no=0.4), {}, 50, 50)
    assert shares[Label(0)] == pytest.approx((0.3, 0.7))
    assert shares[Label(1)] == pytest.approx((0.4, 0.4))
    assert shares_of_shard(task(no=0.4), known(10, 5), 50, 50)[Label(1)] == pytest.approx((0.4, 0.4))
    assert shares_of_shard(task(), {}, 50, 50) == {}


def test_a_shards_shares_are_two_standard_errors_apart_from_those_of_all_rows() -> None:
    [(lower, upper)] = shares_of_shard(task(yes=[0.2, 0.5]), {}, 100, 1_000).values()
    assert lower == pytest.approx(0.2 - 2 * math.sqrt(0.2 * 0.8 / 100 * 0.9))
    assert upper == pytest.approx(0.5 + 2 * math.sqrt(0.5 * 0.5 / 100 * 0.9))


def test_shares_end_at_0_and_1() -> None:
    assert shares_of_shard(task(yes=[0.01, 0.99]), {}, 20, 1_000)[Label(0)] == (0.0, 1.0)
    assert shares_of_shard(task(yes=0.0), {}, 20, 1_000)[Label(0)] == (0.0, 0.0)


def test_known_rows_were_chosen_and_are_not_a_sample_of_the_rest() -> None:
    [(lower, upper)] = shares_of_shard(task(yes=0.1), known(30), 100, 1_000).values()
    rest = 70 / 970
    error = 2 * math.sqrt(rest * (1 - rest) / 70 * (1 - 70 / 970))
    assert lower == pytest.approx((30 + 70 * (rest - error)) / 100)
    assert upper == pytest.approx((30 + 70 * (rest + error)) / 100)
    assert shares_of_shard(task(yes=0.5), known(4, 2), 6, 1_000)[Label(0)] == pytest.approx((4 / 6, 4 / 6))


@pytest.mark.parametrize(("share", "rows", "job_rows"), [(0.5, 128, 2_000), (0.1, 128, 2_000), (0.3, 256, 600)])
def test_nineteen_shards_in_twenty_keep_within_their_bounds(share: float, rows: int, job_rows: int) -> None:
    everything = [n < round(share * job_rows) for n in range(job_rows)]
    [(least, most)] = counts_within(shares_of_shard(task(yes=share), {}, rows, job_rows), rows).values()
    rng = Random(0)
    drawn = [sum(rng.sample(everything, rows)) for _ in range(400)]
    assert 380 <= sum(least <= found <= most for found in drawn) < 400


@settings(max_examples=examples(200), deadline=None)
@given(st.data())
def test_bounds_are_shares_of_the_shard_that_hold_its_known_rows(data: st.DataObject) -> None:
    yes, no, others = (data.draw(st.integers(least, 20)) for least in (0, 0, 1))
    rows, share = yes + no + others, st.floats(0, 1)
    chosen = task(yes=sorted(data.draw(st.tuples(share, share))))
    [(lower, upper)] = shares_of_shard(chosen, known(yes, no), rows, rows + data.draw(st.integers(0, 500))).values()
    assert yes / rows - 1e-9 <= lower <= upper + 1e-9
    assert upper <= 1 - no / rows + 1e-9


@pytest.mark.parametrize(
    ("shares", "sure", "told"),
    [
        ({"yes": 0.2}, ["yes"] * 3, "3 rows are known to be 'yes', and of 10 rows the shares allow 2"),
        ({"yes": [0.1, 0.25]}, ["yes"] * 4, "shares allow 3"),
        ({"yes": 0.9}, ["no"] * 2, "together need more than 10 rows: 9 'yes', 2 'no'"),
        ({"yes": [0.4, 1], "no": 0.6}, ["yes"] * 5, "need more than 10 rows: 5 'yes', 6 'no'"),
    ],
)
def test_more_known_rows_than_the_shares_allow_are_a_fault(
    shares: dict[str, object], sure: list[str], told: str
) -> None:
    rows = [{"q": n, "sure": sure[n] if n < len(sure) else None} for n in range(10)]
    [(line, field, message)] = faults_of(task(**shares), *rows)
    assert (line, field) == (None, "task.shares")
    assert told in message


@pytest.mark.parametrize(
    ("shares", "sure"),
    [({"yes": 0.2}, ["yes"] * 2), ({"yes": 0.25}, ["yes"] * 3), ({"yes": 0.9}, ["no"]), ({}, ["no"] * 9)],
)
def test_known_rows_within_the_shares_are_no_fault(shares: dict[str, object], sure: list[str]) -> None:
    rows = [{"q": n, "sure": sure[n] if n < len(sure) else None} for n in range(10)]
    assert len(survey(task(**shares), *rows).known) == len(sure)


@pytest.mark.parametrize(
    ("shares", "sure", "told"),
    [
        ({"True": 0.0}, {}, "the shares leave the label 'False' alone to 10 rows"),
        ({"True": 1.0}, {}, "the shares leave the label 'True' alone to 10 rows"),
        ({"True": 0.2}, {0: 0, 1: 0}, "the shares and the known rows leave the label 'False' alone to 8 rows"),
        ({"False": 0.1}, {3: 1}, "the label 'True' alone to 9 rows"),
        ({"True": 0.2}, {0: 0}, None),
        ({"True": 0.5}, {}, None),
        ({}, {0: 0}, None),
    ],
)
def test_shares_that_leave_all_other_rows_one_label_get_a_warning(
    shares: dict[str, float], sure: dict[int, int], told: str | None
) -> None:
    known = {Row(row): Label(label) for row, label in sure.items()}
    found = list(decided_by_shares(config(shares=shares, known_field="sure").task, known, 10))
    assert len(found) == (told is not None)
    assert told is None or told in found[0]
