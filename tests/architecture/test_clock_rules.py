"""Only the database's clock decides the time: clocks of other machines are wrong, and jump."""

import ast
from collections.abc import Iterator, Mapping

import pytest

CLOCKLESS = ("service/", "api/", "workers/", "migrations/")
WALL_CLOCKS = {("time", "time"), ("time", "time_ns"), ("time", "localtime"), ("time", "gmtime")} | {
    (owner, name) for owner in ("datetime", "date") for name in ("now", "utcnow", "today")
}


def test_no_part_of_the_service_reads_its_machines_clock(shipped: Mapping[str, ast.Module]) -> None:
    asking = {name: list(wall_clock_calls(module)) for name, module in shipped.items() if name.startswith(CLOCKLESS)}
    assert {name: lines for name, lines in asking.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("now = datetime.now(UTC)", [1]),
        ("now = datetime.datetime.now()", [1]),
        ("clock: Callable[[], float] = time.time", [1]),
        ("day = date.today()", [1]),
        ("began = time.monotonic()", []),
        ("now = self._state.now()", []),
        ("moment = func.now()", []),
    ],
)
def test_wall_clocks_are_distinguished_from_others(source: str, lines: list[int]) -> None:
    assert list(wall_clock_calls(ast.parse(source))) == lines


def wall_clock_calls(module: ast.Module) -> Iterator[int]:
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", None)
            if (name, node.attr) in WALL_CLOCKS:
                yield node.lineno
