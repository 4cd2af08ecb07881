"""`pip install icm-service` without an extra gives the client and the command line, and they need nothing else."""

import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

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
_COMMANDS = """
from icm.cli import main
ended = []
for sys.argv[1:] in {commands!r}:
    try:
        main()
    except SystemExit as end:
        ended.append(int(end.code or 0))
print(ended)
"""


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


@cache
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


def test_commands_that_speak_to_a_service_need_no_extra(root: Path) -> None:
    score = ["score", "train_1", "examples/reviews.jsonl", "--text", "review", "--url", "http://127.0.0.1:1"]
    commands = [["--help"], ["submit", "--help"], ["jobs", "--url", "http://127.0.0.1:1"], score]
    done = run(root, _COMMANDS.format(commands=[*commands, [*score, "--format", "csv"]]))
    assert done.stdout.splitlines()[-1:] == ["[0, 0, 4, 4, 4]"], done.stderr
    assert "pip install" not in done.stderr


def test_formats_that_need_a_library_name_the_extra_to_install(root: Path, tmp_path: Path) -> None:
    """The reader is a process of its own, for which a module stands in place of the library."""
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    (tmp_path / "pyarrow.py").write_text("raise ModuleNotFoundError(name='pyarrow')")
    score = ["score", "train_1", "--url", "http://127.0.0.1:1"]
    reading = [*score, str(tmp_path / "rows.parquet")]
    writing = [*score, "examples/reviews.jsonl", "--text", "review", "--format", "parquet"]
    beside = f"sys.path.insert(0, {str(tmp_path)!r})"
    done = run(root, beside + _COMMANDS.format(commands=[reading, writing]))
    assert done.stdout == "[2, 2]\n", done.stderr
    assert done.stderr.count("pip install 'icm-service[server]'") == 2


def test_commands_that_run_a_part_of_the_service_name_the_extra_to_install(root: Path) -> None:
    commands = ["serve", "keys", "projects", "audit"]
    done = run(root, _COMMANDS.format(commands=[[command] for command in commands]))
    assert done.stdout == "[6, 6, 6, 6]\n", done.stderr
    assert [command for command in commands if f"`icm {command}` runs a part of the service" not in done.stderr] == []
    assert done.stderr.count("icm-service[server]") == len(commands)
    assert "Traceback" not in done.stderr
