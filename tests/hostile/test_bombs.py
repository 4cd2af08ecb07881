"""Small files that unpack to gigabytes take neither the API's memory nor the machine's."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from service.intake.bounds.limits import Limits
from tests.hostile.parquet_cases import dictionary_bomb, list_bomb, page_bomb
from tests.long import LONG

MEGABYTE = 1_000_000
SMALL_FILE = 150_000  # bytes
# Reads each named file as an upload would be read, and writes the peaks of its own memory and of the processes that it
# starts, in bytes, behind what was said of each.
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
limits = Limits(**json.loads(sys.argv[1]))
outcomes = []
for path in sys.argv[2:]:
    try:
        with open(path, "rb") as file, FileSource(file, Upload("a.parquet", None), limits) as source:
            outcomes.append(sum(1 for _ in source.rows(FaultLog(10))))
    except PayloadTooLarge as error:
        outcomes.append(str(error))
grown = peak(resource.RUSAGE_SELF) - own
print(json.dumps([outcomes, grown, peak(resource.RUSAGE_CHILDREN)]))
"""
# Any ratio, so that nothing but the running count of bytes and the limit of memory stand in the way.
GENEROUS = Limits(
    max_bytes=(2_000 if LONG else 300) * MEGABYTE,
    max_rows=10**6,
    max_row_bytes=64_000,
    max_ratio=10**9,
    max_parquet_memory_bytes=(500 if LONG else 100) * MEGABYTE,
)
# Each bomb with a word of its refusal.
BOMBS: list[tuple[Callable[[], bytes], str]] = [
    (lambda: dictionary_bomb(MEGABYTE, 3_000), "unpacked"),
    (lambda: page_bomb((600 if LONG else 130) * MEGABYTE), "memory"),
    (lambda: list_bomb((150 if LONG else 25) * MEGABYTE), "memory"),
    *([(lambda: dictionary_bomb(100 * MEGABYTE, 1_000), "unpacked")] if LONG else []),
]


def test_bombs_are_refused_within_bounded_memory(tmp_path: Path) -> None:
    paths = [tmp_path / f"bomb-{number}.parquet" for number in range(len(BOMBS))]
    for path, (bomb, _) in zip(paths, BOMBS, strict=True):
        path.write_bytes(bomb())
        assert path.stat().st_size < SMALL_FILE
    limits = json.dumps(asdict(GENEROUS))
    done = subprocess.run([sys.executable, "-c", READING, limits, *paths], capture_output=True, text=True, check=True)
    outcomes, grown, peak = json.loads(done.stdout)
    for outcome, (_, word) in zip(outcomes, BOMBS, strict=True):
        assert word in str(outcome)
    assert grown < 50 * MEGABYTE
    assert peak < GENEROUS.max_parquet_memory_bytes + 200 * MEGABYTE
