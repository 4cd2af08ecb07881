"""Fixtures with folders of embedded Postgres servers."""

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from icm.local_stack.embedded_postgres import EmbeddedPostgres


def _new_folder() -> Path:
    """A new path in a folder that the user of Postgres may enter."""
    return Path(tempfile.gettempdir()) / f"icm-test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def initialised() -> Iterator[Path]:
    """The folder of a server that was started once and stopped, to copy."""
    root = _new_folder()
    with EmbeddedPostgres(root, durable=False):
        pass
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def ready_folder(initialised: Path) -> Iterator[Path]:
    """A copy for this test alone, in which a server starts without initialising."""
    yield from _copied(initialised)


@pytest.fixture(scope="module")
def shared_folder(initialised: Path) -> Iterator[Path]:
    """Such a copy for the tests of a module."""
    yield from _copied(initialised)


def _copied(folder: Path) -> Iterator[Path]:
    path = _new_folder()
    subprocess.run(["cp", "--archive", folder, path], check=True)  # with owners and modes
    yield path
    shutil.rmtree(path, ignore_errors=True)
