"""Commands of `icm` that documents show are taken by the command line, with their options and arguments."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from icm.cli import build_app
from tests.architecture.test_documents import pages

SHELL = frozenset({"", "sh", "bash", "console"})
COMMAND = re.compile(r"^ *(?:\$ )?(?:docker compose exec \S+ )?(?:\.venv/bin/)?icm ([a-z].*)$")
INLINE = re.compile(r"`icm ([a-z][^`]* -[^`]*)`")
FILE = re.compile(r"[\w./-]+\.(?:jsonl|json|csv|parquet|xlsx)")
SHELL_SIGN = re.compile(r"[|;&>]|\d>")
UNKNOWN = "No such"  # how the command line begins about options and commands that it does not have


def faults_of(text: str) -> Iterator[str]:
    """What the command line says against the commands of a page.

    A command inside a sentence may be a part of one: only commands and options that do not exist are its faults.
    """
    for words, is_whole in commands_of(text):
        why = fault_of(words)
        if why is not None and (is_whole or why.startswith(UNKNOWN)):
            yield f"icm {' '.join(words)}: {why}"


def commands_of(text: str) -> Iterator[tuple[list[str], bool]]:
    """The words behind `icm` of each command in a page's blocks for a shell, and, not whole, of those in sentences."""
    language = None
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("```"):
            language = line.strip().strip("`") if language is None else None
        elif language in SHELL and (found := COMMAND.match(line)):
            yield words_of(found[1]), True
        elif language is None:
            yield from ((words_of(words), False) for words in INLINE.findall(line) if "COMMAND" not in words)


def words_of(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    end = next((place for place, word in enumerate(words) if SHELL_SIGN.fullmatch(word)), len(words))
    return words[:end]


def fault_of(words: list[str]) -> str | None:
    """What the command line says against a command; the files that it names exist."""
    for word in filter(FILE.fullmatch, words):
        Path(word).parent.mkdir(parents=True, exist_ok=True)
        Path(word).touch()
    command: Any = get_command(build_app())
    try:
        context = command.make_context("icm", list(words))
        while hasattr(command, "resolve_command"):
            name, command, words = command.resolve_command(context, words)
            context = command.make_context(name, list(words), parent=context)
    except Exception as error:  # noqa: BLE001 - whichever kind typer has, its text is what people would read
        return str(error) or type(error).__name__
    return None


def test_every_command_of_the_documents_is_taken(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = {page.name: page.read_text("utf-8") for page in pages(root) if page.name != "CHANGELOG.md"}
    assert sum(1 for text in texts.values() for _ in commands_of(text)) > 30
    assert {name: found for name, text in texts.items() if (found := list(faults_of(text)))} == {}


def test_a_command_that_is_not_taken_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = "```sh\nicm jobs --limit 3 | head\nicm jobs --most 3\nicm result -o x.csv\n```\n"
    told = list(faults_of(f"{block}`icm result --partial`, `icm train JOB --ranks 3` and `icm gone --x`\n"))
    assert [fault.partition(":")[0] for fault in told] == [
        "icm jobs --most 3",
        "icm result -o x.csv",
        "icm train JOB --ranks 3",
        "icm gone --x",
    ]
