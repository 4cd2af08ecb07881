"""ARCHITECTURE.md draws the states of jobs and work items as `service.lifecycle` has them."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest

from service.lifecycle.states import JOB, WORK

ARROW = re.compile(r"^    (\w+) --> (\w+)", re.MULTILINE)


@pytest.mark.parametrize(("number", "table"), [(0, JOB), (1, WORK)], ids=["job", "work item"])
def test_the_diagram_has_the_arrows_of_the_table(
    root: Path, number: int, table: Mapping[StrEnum, frozenset[StrEnum]]
) -> None:
    diagrams = (root / "ARCHITECTURE.md").read_text("utf-8").split("stateDiagram-v2")[1:]
    drawn = ARROW.findall(diagrams[number].partition("```")[0])
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {(old.value, new.value) for old, following in table.items() for new in following}
