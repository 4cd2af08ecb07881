"""Folders of embedded servers."""

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from icm.local_stack.embedded_postgres import EmbeddedPostgres


def _new_folder() -> Path:
    """One yet to be made, where the user may enter that Postgres runs as."""
    return Path(tempfile.gettempdir()) / f"icm-test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def initialised() -> Iterator[Path]:
    """The folder of a server that was started once and stopped, to be copied."""
    root = _new_folder()
    with EmbeddedPostgres(root, durable=False):
        pass
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def ready_folder(initialised: Path) -> Iterator[Path]:
    """A folder of this test's own in which a server has nothing to make before it starts."""
    yield from _copied(initialised)


@pytest.fixture(scope="module")
def shared_folder(initialised: Path) -> Iterator[Path]:
    """Such a folder for the tests of a module."""
    yield from _copied(initialised)


def _copied(folder: Path) -> Iterator[Path]:
    path = _new_folder()
    subprocess.run(["cp", "--archive", folder, path], check=True)  # with owners and modes
    yield path
    shutil.rmtree(path, ignore_errors=True)
