"""The repository's source, parsed once for all architecture tests."""

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = (
    *("service", "api", "workers", "migrations", "icm"),
    *("inference", "training", "benchmarks", "examples", "scripts"),
)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shipped() -> Mapping[str, ast.Module]:
    """Every module outside the tests, by its path from the root."""
    return _parsed(*SHIPPED)


@pytest.fixture(scope="session")
def tests() -> Mapping[str, ast.Module]:
    """Every module of the tests, by its path from the root."""
    return _parsed("tests")


def _parsed(*folders: str) -> dict[str, ast.Module]:
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in paths}
