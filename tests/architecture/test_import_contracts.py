"""Import-linter's contracts of the layers hold, and processes load no more than they should."""

import subprocess
import sys
from pathlib import Path

PROCESSES = ("api.__main__", "workers.__main__", "migrations.__main__")
HEAVY = ("torch", "transformers", "peft", "trl", "inference", "training")
TELEMETRY = ("opentelemetry.sdk", "opentelemetry.exporter")  # loaded with an endpoint alone


def test_every_import_contract_is_kept(root: Path) -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run([linter, "--no-cache"], cwd=root, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_process_outside_the_inference_server_loads_torch_or_telemetry_nor_does_any_command(root: Path) -> None:
    commands = "from icm.cli import ENTRIES; [entry.loaded() for entry in ENTRIES]"
    modules = loaded_by(f"import {', '.join(PROCESSES)}; {commands}", root)
    assert {*PROCESSES, "icm.commands.serve", "icm.commands.keys", "icm.client"} <= modules
    assert modules.isdisjoint({*HEAVY, *TELEMETRY})


def loaded_by(script: str, root: Path) -> set[str]:
    told = [sys.executable, "-c", f"import sys; {script}; print(*sys.modules, sep='\\n', file=sys.stderr)"]
    return set(subprocess.run(told, cwd=root, check=True, capture_output=True, text=True).stderr.split())


def test_help_and_version_load_no_client_and_no_database(root: Path) -> None:
    for option in ("--help", "--version"):
        modules = loaded_by(f"from icm.cli import build_app; build_app()([{option!r}], standalone_mode=False)", root)
        assert "icm.cli" in modules
        assert modules & {"httpx", "sqlalchemy", "alembic", "asyncio", "icm.commands.jobs"} == set()


def test_the_search_loads_nothing_but_the_standard_library_and_the_solver(root: Path) -> None:
    script = (
        "import sys; before = set(sys.modules); import pkgutil, importlib, service.search\n"
        "for module in pkgutil.walk_packages(service.search.__path__, 'service.search.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], cwd=root, check=True, capture_output=True, text=True)
    assert set(loaded.stdout.split()) <= {"service", "highspy", "numpy"}
