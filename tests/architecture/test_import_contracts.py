"""The layers hold: import-linter's contracts, and what processes really load."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "inference")


def test_every_import_contract_is_kept(root: Path) -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run([linter, "--no-cache"], cwd=root, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("process", ["api.__main__", "workers.__main__", "migrations.__main__", "icm.cli"])
def test_a_process_outside_the_inference_server_never_loads_torch(process: str, root: Path) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {process}; print(*sys.modules, sep='\\n')"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    modules = set(loaded.stdout.split())
    assert process in modules
    assert modules.isdisjoint(HEAVY)


def test_the_search_loads_nothing_but_the_standard_library_and_the_solver(root: Path) -> None:
    script = (
        "import sys; before = set(sys.modules); import pkgutil, importlib, service.search\n"
        "for module in pkgutil.iter_modules(service.search.__path__, 'service.search.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], cwd=root, check=True, capture_output=True, text=True)
    assert set(loaded.stdout.split()) <= {"service", "highspy", "numpy"}
