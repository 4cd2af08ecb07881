"""Every planted data set gets the verdict it was planted for; further seeds belong to the long form."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from tests.planted.failing import failing
from tests.planted.healthy import healthy
from tests.planted.labelling import Case, reported


def parameters(cases: Sequence[Case]) -> list[Any]:
    """The cases; those whose names differ from an earlier one's by the number at the end are for the long form."""
    first = {kind_of(case): case.name for case in reversed(cases)}
    return [
        pytest.param(case, id=case.name, marks=[] if first[kind_of(case)] == case.name else [pytest.mark.long])
        for case in cases
    ]


def kind_of(case: Case) -> str:
    return re.sub(r",? \d+$", "", case.name)


@pytest.mark.parametrize("case", parameters(failing()))
async def test_the_verdict_warns_of_every_planted_fault(case: Case) -> None:
    found = await reported(case)
    assert case.code in {reason.code for reason in found.reasons}
    assert found.verdict is case.verdict


@pytest.mark.parametrize("case", parameters(healthy()))
async def test_healthy_labels_get_the_verdict_ok(case: Case) -> None:
    found = await reported(case)
    assert found.reasons == []
    assert found.verdict is case.verdict


def test_there_are_fifty_cases_and_three_of_each_fault() -> None:
    modes = Counter(case.code for case in failing())
    assert min(modes.values()) >= 3
    assert len(healthy()) >= 15
    assert modes.total() + len(healthy()) >= 50
