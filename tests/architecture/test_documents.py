"""Files that documents and docstrings name exist."""

import ast
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "GLOSSARY.md", "CHANGELOG.md", "SECURITY.md")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\((?!https?:)([^)#]*)#([^)]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
OUTPUT = re.compile(r"\s(?:-o|--out|--report) ([a-z][\w.]*)")
TARGET = re.compile(r"`?\bmake ([a-z]+)`?")
SOURCES = ("service", "api", "workers", "icm", "inference", "training", "migrations", "benchmarks", "scripts", "tests")
NAMED_IN_CODE = re.compile(
    r"(?<![\w/.])((?:service|api|workers|inference|training|icm|migrations|tests|docs|examples|benchmarks)/[\w/-]+\.(?:py|md))\b"
)
SECTION_NAMED_IN_CODE = re.compile(r"(?<![\w/.])(docs/[\w/-]+\.md)#([\w-]+)")
DECISION = re.compile(r"docs/decisions/(\d{4})(?![\d-])|\bADR (\d{4})")
MODULE = re.compile(r"`((?:service|api|workers|inference|training|icm|migrations|tests|docs|examples)/[\w/.]*)`")


@pytest.fixture(params=DOCUMENTS)
def document(request: pytest.FixtureRequest, root: Path) -> str:
    name: str = request.param
    return (root / name).read_text("utf-8")


def pages(root: Path) -> list[Path]:
    return [root / name for name in DOCUMENTS] + sorted((root / "docs").rglob("*.md"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(page.read_text("utf-8")))
    return {heading.replace(" ", "-") for heading in plain}


def lost_links(page: Path) -> list[str]:
    """Links of a page to files or headings that do not exist."""
    text = page.read_text("utf-8")
    files = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    targets = ((page.parent / file if file else page, anchor) for file, anchor in ANCHOR.findall(text))
    return files + [anchor for target, anchor in targets if target.suffix == ".md" and anchor not in anchors(target)]


def test_links_lead_to_files_and_headings(root: Path) -> None:
    lost = {str(page.relative_to(root)): found for page in pages(root) if (found := lost_links(page))}
    assert lost == {}


def test_git_ignores_environments_and_output_under_their_names_as_folders_and_as_links(root: Path) -> None:
    ignored = (root / ".gitignore").read_text("utf-8").splitlines()
    assert [line for line in ignored if line.endswith("/")] == [], "a line with a slash at its end ignores no link"
    assert {".venv", ".venv-vllm", ".venv-llamacpp"} <= set(ignored)


def test_git_ignores_what_the_commands_of_the_readme_write(root: Path) -> None:
    ignored = (root / ".gitignore").read_text("utf-8").splitlines()
    written = set(OUTPUT.findall((root / "README.md").read_text("utf-8")))
    assert {"labelled.jsonl", "report.html", "trained"} <= written
    assert [name for name in written if not any(fnmatch(f"/{name}", line) for line in ignored)] == []


def test_lost_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `heading` here\n[a](gone.md) [b](#a-heading-here) [c](page.md#gone) [d](https://example.com/#x)\n"
    )
    assert lost_links(page) == ["gone.md", "gone"]


def test_every_page_is_two_clicks_from_the_readme(root: Path) -> None:
    def linked(page: Path) -> set[Path]:
        found = ((page.parent / link).resolve() for link in LINK.findall(page.read_text("utf-8")))
        return {target for target in found if target.suffix == ".md"}

    first = linked(root / "README.md")
    near = first.union(*map(linked, first))
    assert {str(page.relative_to(root)) for page in pages(root) if page.resolve() not in near} <= {"README.md"}


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


def docstrings(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def lost_references(text: str, root: Path) -> list[str]:
    """Files, sections, decisions and a document of the first release that a text names and that do not exist."""
    files = [path for path in NAMED_IN_CODE.findall(text) if not (root / path).exists()]
    numbers = [one or other for one, other in DECISION.findall(text)]
    decisions = [number for number in numbers if not list((root / "docs/decisions").glob(f"{number}-*.md"))]
    named = [(root / path, section) for path, section in SECTION_NAMED_IN_CODE.findall(text)]
    sections = [section for page, section in named if page.exists() and section not in anchors(page)]
    return files + sections + decisions + re.findall(r"\bDESIGN\b", text)


@pytest.mark.parametrize("folder", SOURCES)
def test_docstrings_name_files_and_decisions_that_exist(
    folder: str, root: Path, shipped: Mapping[str, ast.Module], tests: Mapping[str, ast.Module]
) -> None:
    modules = {path: module for path, module in {**shipped, **tests}.items() if path.startswith(f"{folder}/")}
    lost = {
        path: missing
        for path, module in modules.items()
        if (missing := [name for text in docstrings(module) for name in lost_references(text, root)])
    }
    assert modules
    assert lost == {}


def test_lost_references_are_found(root: Path) -> None:
    text = "See DESIGN, service/gone.py, docs/probe.md#gone, docs/training.md#policies, docs/decisions/9999 and "
    text += "docs/decisions/0001."
    assert lost_references(text, root) == ["service/gone.py", "gone", "9999", "DESIGN"]
