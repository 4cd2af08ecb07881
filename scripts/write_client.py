"""Writes the blocking client from the asynchronous one: `python -m scripts.write_client`.

unasync drops `async` and `await` and swaps the names below; ruff puts the result in the house format.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import unasync

ICM = Path(__file__).parents[1] / "icm"
MODULES = {"async_client.py": "client.py", "async_trainings.py": "trainings.py", "async_webhooks.py": "webhooks.py"}
NAMES = {
    "AsyncBaseTransport": "BaseTransport",
    "AsyncClient": "Client",
    "AsyncIterator": "Iterator",
    "AsyncTrainings": "Trainings",
    "AsyncWebhooks": "Webhooks",
    "aclose": "close",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "async_run": "run",
    "async_sleep": "sleep",
    "async_trainings": "trainings",
    "async_webhooks": "webhooks",
}
_NOTE = "# `python -m scripts.write_client` writes this file from {source}: edit that one.\n"


def blocking(source: str) -> str:
    """The text of the blocking module that belongs to an asynchronous one."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder) / "asynchronous"
        there.mkdir()
        (there / source).write_text((ICM / source).read_text("utf-8"), "utf-8")
        rule = unasync.Rule(f"{there}/", f"{folder}/blocking/", additional_replacements=NAMES)
        unasync.unasync_files([str(there / source)], [rule])
        made = Path(folder) / "blocking" / source
        return _in_house_format(_NOTE.format(source=source) + made.read_text("utf-8"))


def _in_house_format(text: str) -> str:
    """The text as ruff leaves it: shorter names change the order of imports and the breaks of lines."""
    settings = ("--config", str(ICM.parent / "pyproject.toml"), "--stdin-filename", str(ICM / "client.py"), "-")
    for step in (("check", "--quiet", "--fix-only", "--select", "I"), ("format", "--quiet")):
        command = [sys.executable, "-m", "ruff", *step, *settings]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own words
    return text


def main() -> int:
    """Write both modules."""
    argparse.ArgumentParser(prog="python -m scripts.write_client", description=__doc__).parse_args()
    for source, target in MODULES.items():
        (ICM / target).write_text(blocking(source), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
