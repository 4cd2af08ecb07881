"""The small model says the labels of the demo, and would say something else behind a blank."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.labelling.configuration import parse_config
from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.model.language_model import Source, load
from inference.settings import SMALL_MODEL, Limits
from service.jobs.checks.label_words import try_labels
from service.scoring.embedded import EmbeddedScorer
from tests.support.inference.served import served
from tests.support.sources import survey

ROOT = Path(__file__).parents[2]
CONFIG = json.loads((ROOT / "examples/demo.json").read_text(encoding="utf-8"))
ROWS = [json.loads(line) for line in (ROOT / "examples/demo.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The embedded server over the small model."""
    engine = Engine(load(Source(str(SMALL_MODEL))), CacheLimits())
    with served(create_app(engine, Limits())) as address:
        yield address


@pytest.fixture
async def scorer(url: str) -> AsyncIterator[EmbeddedScorer]:
    made = EmbeddedScorer("default", url)
    yield made
    await made.close()


async def warned(scorer: EmbeddedScorer, **changes: Any) -> tuple[str, ...]:
    task = parse_config({**CONFIG, "task": {**CONFIG["task"], "relations": [], **changes}}).task
    return (await try_labels(scorer, task, survey(task, *ROWS))).warnings


async def test_the_demo_is_not_warned_of(scorer: EmbeddedScorer) -> None:
    assert await warned(scorer) == ()


async def test_white_space_at_the_end_of_rows_makes_no_label_less_likely(scorer: EmbeddedScorer) -> None:
    rows = [{"claim": f"{row['claim']}\nI think this claim is{blank}"} for row in ROWS for blank in (" ", "\n", "\t ")]
    task = parse_config({"task": {"template": "{claim}"}}).task
    assert (await try_labels(scorer, task, survey(task, *rows))).warnings == ()


async def test_words_that_the_small_model_never_says_are_named_as_the_cause(scorer: EmbeddedScorer) -> None:
    warning = (await warned(scorer, labels=["Surely", "Never"]))[-1]
    assert "the language model expects other words" in warning
