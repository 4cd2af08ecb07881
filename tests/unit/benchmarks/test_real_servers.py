"""The comparison of servers on real text: what it asks of each, and how their runs are distinguished."""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import pytest

from api.labelling.configuration import parse_config
from benchmarks.comparison import Comparison, Measured
from benchmarks.real.servers import HEAD, lines, real_rows, ways
from benchmarks.recording import Recorder
from service.scoring.deterministic import DeterministicScorer
from service.search.predictions.prompt_tree import Usage

ROWS = 8


def run(labels: Sequence[str], seconds: float, scores: Sequence[float]) -> Measured:
    recorder = Recorder(DeterministicScorer())
    recorder.scores = {f"prompt {number}": (score, -1.0) for number, score in enumerate(scores)}
    recorder.usage = Usage(2, 4_000, 1_000)
    return Measured(
        labels=labels, accuracy=0.5, verdict="ok", seconds=seconds, recorder=recorder, counted=None, block=None
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "real").mkdir()
    reviews = [{"text": f"film {n}", "label": ("positive", "negative")[n % 2]} for n in range(40)]
    (tmp_path / "real" / "sst2.jsonl").write_text("".join(json.dumps(review) + "\n" for review in reviews), "utf-8")
    return tmp_path


def test_rows_are_posted_as_the_prompts_that_other_benchmarks_show(data: Path) -> None:
    found = real_rows("sst2", data, ROWS)
    assert parse_config(found.config).task.gold_field == "gold"
    assert len(found.rows) == ROWS
    assert all(row["text"].startswith("Review: film ") and row["text"].endswith("Sentiment:") for row in found.rows)
    assert {row["gold"] for row in found.rows} == {"positive", "negative"}


def test_every_way_is_compared_with_the_first(data: Path) -> None:
    chosen = ways(
        Namespace(model=Path("folder"), threads=1, gguf=Path("file.gguf"), vllm=True, ways=["float32", "llama"])
    )
    comparison = Comparison(real_rows("sst2", data, ROWS), chosen)
    comparison.runs = {
        chosen[0].name: [run(["a", "b"], 2.0, [-0.5, -0.25])],
        chosen[1].name: [run(["a", "a"], 5.0, [-0.75, -0.25, -9.0])],
    }
    base, other = lines(comparison, {chosen[0].name: [10.0], chosen[1].name: [5.0]})
    assert base[1:] == ("0.500", "0", "2", "0.000", "0.0000", "4,000", "1,000", "1.00", "1.00")
    assert other == ("llama.cpp", "0.500", "1", "2", "0.250", "0.0625", "4,000", "1,000", "2.50", "0.50")
    assert len(other) == len(HEAD)
