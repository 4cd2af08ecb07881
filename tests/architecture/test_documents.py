"""What the documents name exists."""

import re
from pathlib import Path

import pytest

DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "GLOSSARY.md", "CHANGELOG.md", "SECURITY.md")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
TARGET = re.compile(r"`?\bmake ([a-z]+)`?")
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
