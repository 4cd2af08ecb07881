"""Small files that unpack to gigabytes take neither the API's memory nor the machine's."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.intake.bounds.limits import Limits
from tests.hostile.parquet_cases import dictionary_bomb, list_bomb, page_bomb
from tests.long import LONG

MEGABYTE = 1_000_000
SMALL_FILE = 150_000  # bytes
# Reads the file named as an upload would be read; the peaks of its own memory and of the process it starts, in bytes.
READING = """
import json, resource, sys
from service.errors import PayloadTooLarge
from service.intake.formats import Upload
from service.intake.bounds.limits import Limits
from service.intake.sources import FileSource
from service.jobs.checks.rows import FaultLog

def peak(who):
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

own = peak(resource.RUSAGE_SELF)
try:
    limits = Limits(**json.loads(sys.argv[2]))
    with open(sys.argv[1], "rb") as file, FileSource(file, Upload("a.parquet", None), limits) as source:
        outcome = sum(1 for _ in source.rows(FaultLog(10)))
except PayloadTooLarge as error:
    outcome = str(error)
grown = peak(resource.RUSAGE_SELF) - own
print(json.dumps([outcome, grown, peak(resource.RUSAGE_CHILDREN)]))
"""
# Any ratio, so that nothing but the running count of bytes and the limit of memory stand in the way.
GENEROUS = Limits(
    max_bytes=2_000 * MEGABYTE,
    max_rows=10**6,
    max_row_bytes=64_000,
    max_ratio=10**9,
    max_parquet_memory_bytes=(500 if LONG else 200) * MEGABYTE,
)
SECOND = "dictionary of a long text"  # a second dictionary, for the long form
BOMBS: dict[str, Callable[[], bytes]] = {
    "dictionary": lambda: dictionary_bomb(MEGABYTE, 3_000),
    SECOND: lambda: dictionary_bomb(100 * MEGABYTE, 1_000),
    "page": lambda: page_bomb((600 if LONG else 250) * MEGABYTE),
    "list": lambda: list_bomb((150 if LONG else 50) * MEGABYTE),
}


def read_apart(path: Path, limits: Limits) -> tuple[int | str, int, int]:
    written = json.dumps({name: getattr(limits, name) for name in limits.__slots__})
    done = subprocess.run(
        [sys.executable, "-c", READING, path, written], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    outcome, grown, peak = json.loads(done.stdout)
    return outcome, grown, peak


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name == SECOND else []) for name in BOMBS]
)
def test_a_bomb_is_refused_within_bounded_memory(name: str, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.parquet"
    bomb.write_bytes(BOMBS[name]())
    assert bomb.stat().st_size < SMALL_FILE
    outcome, grown, peak = read_apart(bomb, GENEROUS)
    assert isinstance(outcome, str), outcome
    assert grown < 50 * MEGABYTE
    assert peak < GENEROUS.max_parquet_memory_bytes + 200 * MEGABYTE
