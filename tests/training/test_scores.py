"""Rows scored at the end of a training have the scores of the server that serves the adapter."""

import json
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.adapters.registry import AdapterLimits, Adapters
from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.model.language_model import Source, load
from inference.settings import SMALL_MODEL, Limits
from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import Query
from service.search.predictions.training import TrainAndScore, TrainingExample
from service.training_process.trained_files import examples_of, questions_of, read_scores, spec_of
from service.training_process.trained_files import write_rows as write_search_rows
from tests.training.conftest import Finished
from tests.training.running import refused, run
from tests.training.test_run import adapter_bytes, read
from tests.training.written import LABELS, comparisons, write_rows, write_spec

pytestmark = pytest.mark.timeout(300)  # processes are loaded, which takes long where many are

NEXT_TOKENS = ["1", "10", "the end"]  # one begins another, one has several tokens


def write_questions(folder: Path, count: int = 12) -> list[dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"prompt": row["prompt"], "id": f"row {n}"} for n, row in enumerate(comparisons(count, seed=9))]
    write_rows(folder / "questions.jsonl", rows)
    return rows


def scores_of(out: Path) -> dict[str, list[float]]:
    lines = (out / "scores.jsonl").read_text("utf-8").splitlines()
    return {row["id"]: row["log_probabilities"] for row in map(json.loads, lines)}


async def served_scores(adapter: Path, prompts: list[str], labels: list[str]) -> list[list[float]]:
    """The embedded server's scores with the adapter."""
    engine = Engine(load(Source(str(SMALL_MODEL), "cpu")), CacheLimits())
    adapters = Adapters(engine.language_model, AdapterLimits())
    adapters.add("trained", adapter)
    app = create_app(engine, Limits(), None, adapters)
    tree = {
        "nodes": [{"parent": None, "text": ""}],
        "queries": [{"node": 0, "text": prompt} for prompt in prompts],
        "labels": labels,
        "separator": "\n\n",
        "adapter": "trained",
    }
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        reply = await client.post("/v1/score_tree", json=tree)
    assert reply.status_code == 200, reply.text
    found: list[list[float]] = reply.json()["log_probabilities"]
    return found


async def test_scores_are_those_of_the_server_with_the_adapter(forks: ForkServerContext, tmp_path: Path) -> None:
    asked = write_questions(tmp_path)
    rows = [
        {**row, "label": NEXT_TOKENS[place % 3], "gold": NEXT_TOKENS[0]} for place, row in enumerate(comparisons(32))
    ]
    spec = write_spec(tmp_path, rows, score="questions.jsonl", labels=NEXT_TOKENS)
    status, training = run(forks, spec, tmp_path / "out")
    assert status == 0, training.errors.read_text("utf-8")
    found = scores_of(tmp_path / "out")
    assert list(found) == [row["id"] for row in asked]
    served = await served_scores(tmp_path / "out/adapter", [row["prompt"] for row in asked], NEXT_TOKENS)
    assert list(found.values()) == [pytest.approx(values, abs=5e-5) for values in served]
    report = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    assert report["scored"]["rows"] == len(asked)
    assert report["scored"]["tokens"] > len(asked)


def test_neither_gold_nor_rows_to_be_scored_change_a_byte_of_what_is_trained(
    finished: Finished, forks: ForkServerContext, tmp_path: Path
) -> None:
    write_questions(tmp_path)
    rows = comparisons(64)
    wrong = [{**row, "gold": other["gold"]} for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]
    assert all(row["gold"] != row["label"] for row in wrong)
    status, _ = run(forks, write_spec(tmp_path, wrong, score="questions.jsonl"), tmp_path / "out")
    assert status == 0
    assert adapter_bytes(tmp_path / "out") == adapter_bytes(finished.out)
    assert read(tmp_path / "out/report.json")["training"]["epochs"][-1]["held_out"]["accuracy"] < 0.1
    manifest = read(tmp_path / "out/manifest.json")
    assert manifest.pop("scores")["file"] == "scores.jsonl"
    assert manifest == read(finished.out / "manifest.json")
    assert not (finished.out / "scores.jsonl").exists()

    scores = tmp_path / "out/scores.jsonl"
    scores.write_bytes(scores.read_bytes().replace(b"-", b"", 1))
    status, end = refused(tmp_path / "spec.json", tmp_path / "out")
    assert status == 2
    assert "'scores.jsonl'" in end["reason"]
    assert "is not as it was written" in end["reason"]


def test_other_rows_to_be_scored_are_another_training(finished: Finished, tmp_path: Path) -> None:
    write_questions(tmp_path)
    status, end = refused(write_spec(tmp_path, score="questions.jsonl", controls=["inverted"]), finished.out)
    assert status == 2
    assert "other settings (score)" in end["reason"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "score: "),
        ('{"prompt": "x", "label": "True"}', "score, line 1: label: there is no such field"),
        ('{"prompt": ""}', "score, line 1: prompt: must not be empty"),
        ("\n[1]", "score, line 2: is no JSON object"),
        ('{"prompt": "' + "Fifty-one " * 5000 + '"}', "score, line 1: prompt: takes 1"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused_before_anything_is_trained(
    text: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "questions.jsonl").write_text(text, "utf-8")
    status, end = refused(write_spec(tmp_path, score="questions.jsonl"), tmp_path / "out")
    assert status == 2
    assert end["reason"].startswith(reason)


def test_rows_to_be_scored_must_be_there(tmp_path: Path) -> None:
    status, end = refused(write_spec(tmp_path, score="nowhere.jsonl"), tmp_path / "out")
    assert status == 2
    assert end["reason"].startswith("score: there is no file")


def test_a_reward_model_scores_no_labels(tmp_path: Path) -> None:
    write_questions(tmp_path)
    spec = write_spec(tmp_path, kind="reward", labels=[], separator="", score="questions.jsonl")
    status, end = refused(spec, tmp_path / "out")
    assert status == 2
    assert "score: leave it out for kind reward" in end["reason"]


def test_the_command_accepts_a_searchs_request_and_returns_its_scores(forks: ForkServerContext, tmp_path: Path) -> None:
    """The files of both sides: the service's and the command's."""
    rows = comparisons(24)
    asked = TrainAndScore(
        examples=tuple(
            TrainingExample(Row(n), row["prompt"], Label(LABELS.index(row["label"])), weight=0.5 + n % 2 / 2)
            for n, row in enumerate(rows)
        ),
        queries=tuple(Query(Row(100 + n), row["prompt"]) for n, row in enumerate(comparisons(8, seed=3))),
        epochs=2,
        learning_rate=0.01,
        seed=5,
    )
    write_search_rows(tmp_path, examples_of(asked, LABELS), questions_of(asked))
    spec = {"base": str(SMALL_MODEL), "examples": "examples.jsonl", "device": "cpu"}
    (tmp_path / "spec.json").write_text(json.dumps({**spec, **spec_of(asked, LABELS, "\n\n")}), "utf-8")
    status, training = run(forks, tmp_path / "spec.json", tmp_path / "out")
    assert status == 0, training.errors.read_text("utf-8")
    found = read_scores(tmp_path / "out", asked, len(LABELS))
    assert list(found.log_probabilities) == [Row(100 + n) for n in range(8)]
    assert list(scores_of(tmp_path / "out").values()) == [list(values) for values in found.log_probabilities.values()]
    tokens = json.loads((tmp_path / "out/report.json").read_text("utf-8"))["rows"]["tokens"]
    assert found.usage.tokens_trained == 2 * tokens
