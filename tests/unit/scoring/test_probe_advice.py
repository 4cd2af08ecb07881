import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from service.records.scoring import BackendInfo
from service.scoring.kinds import KINDS, backend_of
from service.scoring.probing.label_trial import _ENDINGS
from service.scoring.wires.kind import Remedies

PAGE = (Path(__file__).parents[3] / "docs/probe.md").read_text("utf-8")
FLAG = re.compile(r"--[a-z][\w-]*|-np \d|`\w+`|[A-Z_]{5,}=\w+")
ADAPTED = ("tgi", "vllm", "sglang", "llamacpp", "embedded")


@pytest.mark.parametrize("kind", ADAPTED)
def test_every_flag_in_a_problem_or_advice_is_on_the_page_about_the_probe(kind: str) -> None:
    told = {flag.strip("`") for text in asdict(KINDS[kind].of_kind.remedies).values() for flag in FLAG.findall(text)}
    assert {flag for flag in told if flag not in PAGE and flag != "max_model_len"} == set()


def test_every_kind_is_configured_by_its_name_and_has_a_distinct_title() -> None:
    assert {name: backend_of(kind=name).of_kind.name for name in KINDS} == {name: name for name in KINDS}
    assert len({backend.of_kind.title for backend in KINDS.values()}) == len(KINDS)


def test_a_kind_without_its_own_advice_has_general_advice() -> None:
    assert all(asdict(Remedies()).values())


def test_everything_the_probe_measures_is_on_its_page() -> None:
    told_by_settings = {"name", "ready", "reachable", "replicas", "problems", "advice"}
    assert {field.name for field in fields(BackendInfo) if f"`{field.name}`" not in PAGE} == told_by_settings


def test_the_page_counts_the_ends_of_prompts_right() -> None:
    words = {6: "six"}
    assert f"with {words[len(_ENDINGS)]} other characters" in PAGE
