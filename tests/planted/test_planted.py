"""Every planted data set gets the verdict it was planted for."""

from collections import Counter

import pytest

from tests.planted.failing import failing
from tests.planted.healthy import healthy
from tests.planted.labelling import Case, reported


@pytest.mark.parametrize("case", failing(), ids=str)
async def test_a_way_to_go_wrong_is_seen(case: Case) -> None:
    found = await reported(case)
    assert case.code in {reason.code for reason in found.reasons}
    assert found.verdict is case.verdict


@pytest.mark.parametrize("case", healthy(), ids=str)
async def test_nothing_is_said_against_healthy_labels(case: Case) -> None:
    found = await reported(case)
    assert found.reasons == []
    assert found.verdict is case.verdict


def test_there_are_fifty_cases_and_three_of_each_way_to_go_wrong() -> None:
    modes = Counter(case.code for case in failing())
    assert min(modes.values()) >= 3
    assert len(healthy()) >= 15
    assert modes.total() + len(healthy()) >= 50
