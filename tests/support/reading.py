"""Reads harmless Parquet files and workbooks in the test process, without the limited process of the product."""

import os
from collections.abc import Callable
from typing import IO

import orjson
import pytest

from service.intake.bounds.limits import Limits
from service.intake.unpacked.process import unpack


class Done:
    """A process that has succeeded, and its output."""

    returncode = 0

    def __init__(self, said: bytes) -> None:
        self.stdout = said


def read_in_process(patch: pytest.MonkeyPatch) -> None:
    """Read files in this process, since a separate one takes half a second to load.

    `tests/unit/intake/test_unpacking.py` and `tests/hostile/test_bombs.py` test the separate process.
    """

    def run(file: IO[bytes], lines: IO[bytes], limits: Limits, _: Callable[[], None], form: str = "Parquet") -> Done:
        with os.fdopen(os.dup(file.fileno()), "rb", buffering=0) as own:
            outcome = unpack(own, os.dup(lines.fileno()), limits, form)
        return Done(orjson.dumps(outcome, default=str))

    patch.setattr("service.intake.unpacked.unpacking._run", run)
