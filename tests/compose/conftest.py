"""docker-compose.yml, resolved as Compose does with the settings of .env.example."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<word>[^}]*))?\}")
ASSIGNMENT = re.compile(r"^(?P<comment># )?(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)$", re.MULTILINE)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository, which is the build context."""
    return ROOT


@pytest.fixture(scope="session")
def written() -> str:
    """docker-compose.yml without comments."""
    lines = (ROOT / "docker-compose.yml").read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


@pytest.fixture(scope="session")
def explained() -> Mapping[str, str]:
    """Every variable of .env.example with its value, those in comments included."""
    return {found["name"]: found["value"] for found in ASSIGNMENT.finditer(_example())}


@pytest.fixture(scope="session")
def decided() -> Mapping[str, str]:
    """The variables that .env.example sets."""
    return {found["name"]: found["value"] for found in ASSIGNMENT.finditer(_example()) if not found["comment"]}


@pytest.fixture(scope="session")
def defaults(written: str) -> Mapping[str, str]:
    """The defaults of variables in docker-compose.yml."""
    return {found["name"]: found["word"] for found in VARIABLE.finditer(written) if found["kind"] == "-"}


@pytest.fixture(scope="session")
def compose(written: str, decided: Mapping[str, str]) -> dict[str, Any]:
    """The file with every variable replaced by its value in .env.example or its default."""

    def value(found: re.Match[str]) -> str:
        return decided[found["name"]] if found["kind"] != "-" else decided.get(found["name"], found["word"])

    loaded: dict[str, Any] = yaml.safe_load(VARIABLE.sub(value, written))
    return loaded


def _example() -> str:
    return (ROOT / ".env.example").read_text("utf-8")
