"""Parquet files and workbooks that harm no reader, read in the process of the test."""

import os
from collections.abc import Callable
from typing import IO

import orjson
import pytest

from service.intake.bounds.limits import Limits
from service.intake.unpacked.process import unpack


class Done:
    """A process that has ended well, and what it said."""

    returncode = 0

    def __init__(self, said: bytes) -> None:
        self.stdout = said


def read_here(patch: pytest.MonkeyPatch) -> None:
    """Let no process of its own read a file: it takes half a second to load.

    That process, its limits and its end are what `tests/unit/intake/test_unpacking.py` and
    `tests/hostile/test_bombs.py` are about.
    """

    def run(file: IO[bytes], lines: IO[bytes], limits: Limits, _: Callable[[], None], form: str = "Parquet") -> Done:
        with os.fdopen(os.dup(file.fileno()), "rb", buffering=0) as own:
            outcome = unpack(own, os.dup(lines.fileno()), limits, form)
        return Done(orjson.dumps(outcome, default=str))

    patch.setattr("service.intake.unpacked.unpacking._run", run)
