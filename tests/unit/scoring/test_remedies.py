import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from service.ports.scoring import BackendInfo
from service.scoring.probing.label_trial import _ENDINGS
from service.scoring.wires.advice import TITLES, remedies_of, title_of
from service.settings import BackendSettings

PAGE = (Path(__file__).parents[3] / "docs/probe.md").read_text("utf-8")
FLAG = re.compile(r"--[a-z][\w-]*|-np \d|`\w+`|[A-Z_]{5,}=\w+")
ADAPTED = ("tgi", "vllm", "sglang", "llamacpp", "embedded")


@pytest.mark.parametrize("kind", ADAPTED)
def test_every_flag_that_a_problem_or_advice_tells_is_on_the_page_about_the_probe(kind: str) -> None:
    told = {flag.strip("`") for text in asdict(remedies_of(kind)).values() for flag in FLAG.findall(text)}
    assert {flag for flag in told if flag not in PAGE and flag != "max_model_len"} == set()


def test_every_kind_that_can_be_configured_has_a_name() -> None:
    assert set(TITLES) == set(BackendSettings.model_fields["kind"].annotation.__args__)  # type: ignore[union-attr]  # a Literal


def test_a_kind_that_nobody_knows_has_remedies_too() -> None:
    assert title_of("other") == "other"
    assert all(asdict(remedies_of("other")).values())


def test_everything_the_probe_measures_is_on_its_page() -> None:
    told_by_settings = {"name", "ready", "reachable", "replicas", "problems", "advice"}
    assert {field.name for field in fields(BackendInfo) if f"`{field.name}`" not in PAGE} == told_by_settings


def test_the_page_counts_the_ends_of_prompts_right() -> None:
    words = {6: "six"}
    assert f"with {words[len(_ENDINGS)]} other characters" in PAGE
