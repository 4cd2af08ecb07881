"""`pip install icm-service` without an extra gives the client and the command line, and they need nothing else."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Installed as a venv without the extras would be: what belongs to them alone cannot be imported.
_WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
_COMMAND = "from icm.cli import main; sys.argv[1:] = {words!r}; main()"


def names(requirements: list[str]) -> set[str]:
    """Distributions that requirements name, extras and other platforms aside."""
    parsed = map(Requirement, requirements)
    return {canonicalize_name(one.name) for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})}


def with_theirs(distributions: set[str]) -> set[str]:
    """The distributions and all that they need."""
    found, waiting = set[str](), list(distributions)
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += names(requires(name) or [])
    return found


def packages(root: Path, *extras: str) -> set[str]:
    """What can be imported of these extras and is no part of the client's own dependencies."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    needed = set().union(*(names(project["optional-dependencies"][extra]) for extra in extras)) - {"icm-service"}
    lacking = with_theirs(needed) - with_theirs(names(project["dependencies"]))
    return {
        package
        for package, distributions in packages_distributions().items()
        if set(map(canonicalize_name, distributions)) <= lacking
    }


def run(root: Path, script: str) -> subprocess.CompletedProcess[str]:
    missing = packages(root, "server", "embedded")
    assert {"sqlalchemy", "fastapi", "uvicorn", "torch", "pyarrow"} <= missing
    whole = _WITHOUT.format(missing=missing) + script
    return subprocess.run(
        [sys.executable, "-c", whole], cwd=root, check=False, capture_output=True, text=True, timeout=60
    )


def test_the_client_is_imported_without_any_extra(root: Path) -> None:
    done = run(root, "from icm import AsyncClient, Client; Client('http://127.0.0.1:1').close(); print('closed')")
    assert (done.stdout, done.returncode) == ("closed\n", 0), done.stderr


@pytest.mark.parametrize(
    ("words", "code"), [(["--help"], 0), (["jobs", "--url", "http://127.0.0.1:1"], 4), (["submit", "--help"], 0)]
)
def test_commands_that_speak_to_a_service_need_no_extra(words: list[str], code: int, root: Path) -> None:
    done = run(root, _COMMAND.format(words=words))
    assert done.returncode == code, done.stderr
    assert "pip install" not in done.stderr


@pytest.mark.parametrize("command", ["serve", "keys", "projects", "audit"])
def test_commands_that_run_a_part_of_the_service_name_the_extra_to_install(command: str, root: Path) -> None:
    done = run(root, _COMMAND.format(words=[command]))
    assert done.returncode == 6, done.stderr
    assert f"`icm {command}` runs a part of the service" in done.stderr
    assert "icm-service[server]" in done.stderr
    assert "Traceback" not in done.stderr
