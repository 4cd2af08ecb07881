"""Files that documents and docstrings name exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "GLOSSARY.md", "CHANGELOG.md", "SECURITY.md")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
TARGET = re.compile(r"`?\bmake ([a-z]+)`?")
SOURCES = ("service", "api", "workers", "icm", "inference", "training", "migrations", "benchmarks", "scripts", "tests")
NAMED_IN_CODE = re.compile(
    r"(?<![\w/.])((?:service|api|workers|inference|training|icm|migrations|tests|docs|examples|benchmarks)/[\w/-]+\.(?:py|md))\b"
)
DECISION = re.compile(r"docs/decisions/(\d{4})(?![\d-])|\bADR (\d{4})")
MODULE = re.compile(r"`((?:service|api|workers|inference|training|icm|migrations|tests|docs|examples)/[\w/.]*)`")


@pytest.fixture(params=DOCUMENTS)
def document(request: pytest.FixtureRequest, root: Path) -> str:
    name: str = request.param
    return (root / name).read_text("utf-8")


def test_links_lead_to_files(document: str, root: Path) -> None:
    assert [link for link in LINK.findall(document) if not (root / link).exists()] == []


def test_files_and_folders_that_are_named_exist(document: str, root: Path) -> None:
    assert [path for path in MODULE.findall(document) if not (root / path).exists()] == []


def test_make_targets_that_are_named_exist(document: str, root: Path) -> None:
    code = "\n".join(re.findall(r"`[^`]+`|^make .*$", document, re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(TARGET.findall(code)) <= targets


def test_every_decision_is_listed(root: Path) -> None:
    folder = root / "docs/decisions"
    listed = set(LINK.findall((folder / "README.md").read_text("utf-8")))
    assert listed == {path.name for path in folder.glob("0*.md")}


def docstrings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def lost_references(text: str, root: Path) -> list[str]:
    """Files, decisions and a document of the first release that a text names and that do not exist."""
    files = [path for path in NAMED_IN_CODE.findall(text) if not (root / path).exists()]
    numbers = [one or other for one, other in DECISION.findall(text)]
    decisions = [number for number in numbers if not list((root / "docs/decisions").glob(f"{number}-*.md"))]
    return files + decisions + re.findall(r"\bDESIGN\b", text)


@pytest.mark.parametrize("folder", SOURCES)
def test_docstrings_name_files_and_decisions_that_exist(folder: str, root: Path) -> None:
    lost = {
        str(path.relative_to(root)): missing
        for path in (root / folder).rglob("*.py")
        if (missing := [name for text in docstrings(path.read_text("utf-8")) for name in lost_references(text, root)])
    }
    assert lost == {}


def test_lost_references_are_found(root: Path) -> None:
    text = "See DESIGN, service/gone.py, docs/decisions/9999 and docs/decisions/0001."
    assert lost_references(text, root) == ["service/gone.py", "9999", "DESIGN"]
