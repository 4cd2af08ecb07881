"""Breaks one promise after the other in a copy of the project and demands that its tests notice.

    python -m tests.mutations              all of them
    python -m tests.mutations fence key    those whose names have one of these words

The tests are first run on the unbroken copy, where all must succeed. Ends with status 1 where a broken
promise goes unnoticed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.mutations.mutation import Mutation
from tests.mutations.table import MUTATIONS

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
LEFT_OUT_AT_THE_TOP = {"out", "build", "dist", "data"}  # written by runs; packages have folders with such names
SUCCEEDED, FAILED = 0, 1  # pytest's exit statuses; any other means an error in the table
LONGEST_SECONDS = 600.0


@contextmanager
def copied_project() -> Iterator[Path]:
    """A copy of the project in a separate folder."""
    with tempfile.TemporaryDirectory(prefix="icm-mutations-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=_left_out)
        yield copy


def _left_out(folder: str, names: list[str]) -> set[str]:
    top = LEFT_OUT_AT_THE_TOP & set(names) if Path(folder) == ROOT else set()
    return LEFT_OUT(folder, names) | top


def status_of(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    """The exit status of these tests in the copy, and pytest's output."""
    command = [sys.executable, "-m", "pytest", "-n0", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS
    )
    return ended.returncode, ended.stdout + ended.stderr


def is_noticed(copy: Path, mutation: Mutation) -> bool:
    """Whether the mutation's tests fail."""
    path = copy / mutation.file
    source = path.read_text("utf-8")
    path.write_text(mutation.applied(source), encoding="utf-8")
    try:
        status, told = status_of(copy, mutation.tests)
    finally:
        path.write_text(source, encoding="utf-8")
    if status not in {SUCCEEDED, FAILED}:
        sys.stdout.write(told)
    return status == FAILED


def main(words: Sequence[str]) -> int:
    """Try all mutations of the table; returns the number of broken promises that no test noticed."""
    chosen = [mutation for mutation in MUTATIONS if not words or any(word in mutation.name for word in words)]
    with copied_project() as copy:
        status, told = status_of(copy, sorted({test for mutation in chosen for test in mutation.tests}))
        if status != SUCCEEDED:
            sys.stdout.write(f"{told}\nthe tests do not succeed as things are\n")
            return 1
        unnoticed = 0
        for mutation in chosen:
            began = time.monotonic()
            noticed = is_noticed(copy, mutation)
            unnoticed += not noticed
            verdict = "noticed" if noticed else "NOT NOTICED"
            sys.stdout.write(f"{verdict:12}{time.monotonic() - began:6.1f} s  {mutation.name}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - unnoticed} of {len(chosen)} broken promises were noticed\n")
    return 1 if unnoticed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
