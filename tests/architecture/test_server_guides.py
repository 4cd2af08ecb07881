"""The settings that the guides to inference servers name exist, and their links lead somewhere."""

import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from service.scoring.kinds import OPTIONS, AnyBackend, Backend

GUIDES = ("README", "comparison", "embedded", "llamacpp", "replicas", "sglang", "sizing", "tgi", "vllm")
BLOCK = re.compile(r"^ *```json\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
SETTING = re.compile(r"^ *\| `(\w+)` \|", re.MULTILINE)
BACKENDS = TypeAdapter[tuple[AnyBackend, ...]](tuple[Backend, ...])


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "docs" / "servers"


def test_every_guide_is_checked(folder: Path) -> None:
    assert sorted(path.stem for path in folder.glob("*.md")) == sorted(GUIDES)


@pytest.mark.parametrize("guide", GUIDES)
def test_links_lead_to_files(guide: str, folder: Path) -> None:
    links = LINK.findall((folder / f"{guide}.md").read_text("utf-8"))
    assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize("guide", ["README", "llamacpp", "replicas", "sglang", "tgi", "vllm"])
def test_backends_that_are_shown_can_be_configured(guide: str, folder: Path) -> None:
    blocks = BLOCK.findall((folder / f"{guide}.md").read_text("utf-8"))
    shown = [backend for block in blocks for backend in BACKENDS.validate_json(block)]
    assert shown
    assert guide in {"README", "replicas"} or {backend.kind for backend in shown} == {guide}


def test_the_table_of_settings_names_those_that_there_are(folder: Path) -> None:
    named = set(SETTING.findall((folder / "README.md").read_text("utf-8")))
    assert named == OPTIONS - {"name"}
