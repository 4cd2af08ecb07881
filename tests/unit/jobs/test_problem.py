import orjson
import pytest

from service.entities import ShardRow
from service.errors import BackendUnavailable
from service.identifiers import Label, Row
from service.jobs.problem import SPECIAL_TOKENS, AnchorLabels, build_problem
from tests.unit.jobs.sources import CountingScorer, config

ROWS = [ShardRow(position=Row(number), data=b'{"q": "a word"}') for number in range(4)]


async def test_demonstrations_may_fill_what_the_backend_reads_beside_the_longest_row() -> None:
    problem = await build_problem(CountingScorer(60), config(), ROWS)
    assert problem.budget_tokens == 60 - SPECIAL_TOKENS - max(problem.demonstration_tokens.values())


async def test_no_search_begins_without_the_length_that_a_backend_which_is_away_would_tell() -> None:
    away = CountingScorer(None, problems=["connection refused"], reachable=False)
    with pytest.raises(BackendUnavailable, match="connection refused"):
        await build_problem(away, config(), ROWS)


async def test_known_labels_are_read_from_the_rows_of_every_shard() -> None:
    sure = [ShardRow(position=Row(n), data=orjson.dumps({"q": "a", "sure": v})) for n, v in enumerate([None, "false"])]
    chosen = config(known_field="sure")
    assert (await build_problem(CountingScorer(), chosen, sure)).known == {1: 1}
    anchor = AnchorLabels(ROWS, {row.position: Label(0) for row in ROWS})
    later = await build_problem(CountingScorer(), chosen, sure, anchor)
    assert later.known == {1: 1}
    assert later.prefix.count("a word is True") == 4
    assert (await build_problem(CountingScorer(), config(), sure)).known == {}


async def test_shares_are_bounds_for_the_rows_of_the_shard() -> None:
    chosen = config(shares={"False": 0.25})
    alone = await build_problem(CountingScorer(), chosen, ROWS)
    assert alone.shares == {1: (0.25, 0.25)}
    [(lower, upper)] = (await build_problem(CountingScorer(), chosen, ROWS, job_rows=40)).shares.values()
    assert lower < 0.25 < upper
    assert (await build_problem(CountingScorer(), config(), ROWS)).shares == {}
