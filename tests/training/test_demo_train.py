"""The parts of `make demo-train`: rows, the training's specification, and the adapter's accuracy."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from api.labelling.configuration import parse_config
from examples import demo_train
from inference.adapters.registry import Adapters
from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.model.language_model import Source, load
from inference.settings import SMALL_MODEL, Limits
from service.identifiers import Row
from service.jobs.task.template import Template
from service.scoring.embedded import EmbeddedScorer
from service.search.predictions.prompt_tree import PromptTree, Query
from tests.support.inference.served import served
from tests.training.conftest import Finished
from training.data.examples import read_examples
from training.spec import read_spec

ROWS, FRESH = demo_train.draw()


def test_fresh_rows_are_as_many_as_those_to_label_and_none_of_them_was_labelled() -> None:
    assert len(ROWS) == len(FRESH) == 256
    assert {row["claim"] for row in ROWS}.isdisjoint(row["claim"] for row in FRESH)
    for part in (ROWS, FRESH):
        assert len({row["id"] for row in part}) == 256
        assert Counter(row["gold"] for row in part) == {True: 128, False: 128}


def test_prompts_are_those_that_the_service_asks() -> None:
    template = Template(parse_config(demo_train.CONFIG).task.template)
    assert [demo_train.prompt_of(row) for row in ROWS] == [template.render(row) for row in ROWS]


def test_the_training_gets_the_labels_found_and_no_gold(tmp_path: Path) -> None:
    found: list[dict[str, Any]] = [{**row, "icm_label": str(not row["gold"])} for row in ROWS[:8]]
    found[3]["icm_label"] = None  # a row that the search left without a label
    spec = read_spec(demo_train.write_specification(found, tmp_path))
    examples = read_examples(tmp_path / spec.examples, spec.labels)
    assert [spec.labels[row.label] for row in examples.rows] == [row["icm_label"] for row in found if row["icm_label"]]
    assert set(examples.gold) == {None}


def test_twins_are_held_out_together(tmp_path: Path) -> None:
    found = [{**row, "icm_label": "True"} for row in ROWS]
    demo_train.write_specification(found, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert set(Counter(row["group"] for row in rows).values()) == {2}


@pytest.fixture(scope="module")
def server(finished: Finished) -> Iterator[str]:
    """The embedded server with the adapter of a short training on comparisons in words."""
    base = load(Source(str(SMALL_MODEL), "cpu"))
    adapters = Adapters(base)
    adapters.add(demo_train.ADAPTER, finished.out / "adapter")
    with served(create_app(Engine(base, CacheLimits(8192, 64)), Limits(), adapters=adapters)) as url:
        yield url


async def labels_of(rows: Sequence[Any], server: str, adapter: str | None) -> list[str]:
    """The likeliest label of each row, each in its own request, as the service sends it to the server."""
    scorer = EmbeddedScorer("default", server, adapter=adapter)
    tree = PromptTree("", tuple(Query(Row(place), demo_train.prompt_of(row)) for place, row in enumerate(rows)))
    labels = demo_train.CONFIG["task"]["labels"]
    found = (await scorer.score(tree, labels, separator="\n\n")).log_probabilities
    await scorer.close()
    return [labels[found[Row(place)].index(max(found[Row(place)]))] for place in range(len(rows))]


@pytest.mark.long
async def test_the_adapter_labels_fresh_rows_better_than_the_base(server: str) -> None:
    rows = [row for row in FRESH if row["task"] == "comparisons_words"][:64]
    before, after = [
        demo_train.accuracy(rows, await labels_of(rows, server, name)) for name in (None, demo_train.ADAPTER)
    ]
    assert before < 0.6
    assert after > 0.85
