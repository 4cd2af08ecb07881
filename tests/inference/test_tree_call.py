"""The benchmark of tree calls measures the same scores by both ways, and the bytes of each."""

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.prefix_sharing import problem_of
from benchmarks.tree_call import largest_difference, measure, table
from inference.app import create_app
from inference.settings import Limits
from tests.support.inference.served import served
from tests.support.inference.tiny import engine_of, llama

ROWS: list[dict[str, Any]] = [{"statement": f"{number} is", "label": number % 3 == 0} for number in range(8)]


@pytest.fixture(scope="module")
def whole_url() -> Iterator[str]:
    with served(create_app(engine_of(llama()), Limits())) as address:
        yield address


async def test_one_call_for_a_tree_sends_less_for_the_same_scores(whole_url: str) -> None:
    problem, labels = problem_of(ROWS, "statement")
    measured = await measure(whole_url, problem, labels, 1)
    tgi, embedded = measured["tgi"], measured["embedded"]
    assert tgi.usage.prompts == embedded.usage.prompts == 8
    assert tgi.usage.tokens_sent == embedded.usage.tokens_sent > 2 * embedded.usage.tokens_computed
    assert largest_difference(tgi.scores, embedded.scores) < 1e-5
    assert tgi.wire.sent > 2 * embedded.wire.sent > 2 * sum(len(row["statement"]) for row in ROWS)
    assert tgi.wire.received > embedded.wire.received > 0
    assert [line.count("|") for line in table(8, measured)] == [9, 9, 9]
