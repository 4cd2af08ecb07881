"""An adapter that was trained, loaded by a real vLLM while it runs, beside the embedded server with the same one.

The file is named so that `make test` passes it by; `make test-vllm` runs it.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from benchmarks.vllm_server import served_name, vllm_server
from inference.adapters.registry import AdapterLimits, Adapters
from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.model.language_model import Source, load
from inference.settings import SMALL_MODEL, Limits
from service.artifacts.adapter_folder import AdapterFolder
from service.artifacts.file_systems import FileSystemArtifacts
from service.errors import AdapterRefused
from service.identifiers import JobId, Row
from service.ports.scoring import Scorer
from service.records.adapters import TrainedAdapter, trained_adapter
from service.scoring.adapted import adapted
from service.scoring.calls.executor import CallExecutor
from service.scoring.embedded import EmbeddedScorer
from service.scoring.prompts import PromptScorer
from service.scoring.wires.adapters import LoadableAdapter
from service.scoring.wires.vllm import VllmWire
from service.search.predictions.prompt_tree import PromptTree, Query
from tests.inference.lora import save_adapter
from tests.live.conftest import TIMEOUT_SECONDS
from tests.support.inference.served import served
from tests.training.written import comparisons, write_spec

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)

LABELS = ("True", "False")
MAX_RANK = 16
ROWS = 300


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of artifacts, which both servers read."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load(Source(str(SMALL_MODEL))), CacheLimits())


@pytest.fixture(scope="module")
def embedded_url(engine: Engine, place: Path) -> Iterator[str]:
    with served(create_app(engine, Limits(), adapters=Adapters(engine.language_model, AdapterLimits(place)))) as url:
        yield url


@pytest.fixture(scope="module")
def lora_url() -> Iterator[str]:
    with vllm_server("--enable-lora", "--max-lora-rank", str(MAX_RANK), loads_adapters=True) as url:
        yield url


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves of a training on 256 comparisons."""
    folder = tmp_path_factory.mktemp("trained")
    spec = write_spec(folder / "spec", comparisons(256))
    command = [sys.executable, "-m", "training", "run", str(spec), "--out", str(folder / "out"), "--threads", "1"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "out"


async def kept(place: Path, folder: Path, number: int, **manifest: object) -> LoadableAdapter:
    """An adapter among the artifacts, as the service keeps it."""
    training_id = JobId(f"train_{number:032x}")
    artifacts = FileSystemArtifacts(str(place))
    artifact = await artifacts.put(training_id, folder)
    told: TrainedAdapter = trained_adapter(training_id, "default", artifact.sha256, manifest)
    return LoadableAdapter(told, AdapterFolder(artifacts, place))


def scorer_at(url: str) -> Scorer:
    return PromptScorer("default", VllmWire(url, timeout_seconds=120, connections=16), CallExecutor(concurrency=16))


@pytest.fixture
async def vllm(lora_url: str) -> AsyncIterator[Scorer]:
    scorer = PromptScorer(
        "default", VllmWire(lora_url, timeout_seconds=120, connections=16), CallExecutor(concurrency=16)
    )
    yield scorer
    await scorer.close()


@pytest.fixture
async def embedded(embedded_url: str) -> AsyncIterator[Scorer]:
    scorer = EmbeddedScorer("default", embedded_url)
    yield scorer
    await scorer.close()


async def scores(scorer: Scorer) -> list[float]:
    """Every label's log-probability, zero-shot and behind demonstrations."""
    rows = comparisons(ROWS, seed=1)
    shown = "".join(f"{row['prompt']} {row['label']}\n\n" for row in comparisons(16, seed=2))
    found = list[float]()
    for beginning in ("", shown):
        tree = PromptTree(beginning, tuple(Query(Row(number), row["prompt"]) for number, row in enumerate(rows)))
        answer = await scorer.score(tree, LABELS)
        found += [value for number in range(ROWS) for value in answer.log_probabilities[Row(number)]]
    return found


def largest(one: list[float], other: list[float]) -> float:
    return max(abs(left - right) for left, right in zip(one, other, strict=True))


async def test_a_trained_adapter_scores_as_with_the_embedded_server(
    vllm: Scorer, embedded: Scorer, trained: Path, place: Path
) -> None:
    adapter = await kept(place, trained / "adapter", 1, **json.loads((trained / "manifest.json").read_text("utf-8")))
    ours, theirs = (adapted("default", scorer, adapter) for scorer in (embedded, vllm))
    expected, found, base = await scores(ours), await scores(theirs), await scores(vllm)
    assert largest(expected, found) < 1e-3
    assert largest(base, found) > 0.5
    assert adapter.name in (await theirs.identify()).fingerprint
    assert (await theirs.identify()).canary != (await vllm.identify()).canary
    info = await theirs.probe(LABELS, separator="\n\n")
    assert (info.ready, info.model) == (True, f"{served_name(SMALL_MODEL)} + {adapter.name}")


async def test_vllm_refuses_what_it_cannot_serve_in_words_that_say_what_to_do(
    vllm: Scorer, engine: Engine, place: Path, tmp_path: Path
) -> None:
    made = save_adapter(tmp_path / "high", engine.language_model.module, r=32)
    high = await kept(place, made, 2, settings={"rank": 32})
    elsewhere = LoadableAdapter(high.trained, high.files, "/nowhere")
    other = await kept(place, made, 3, base={"name": "other"})
    for adapter, why in (
        (high, "its rank is 32, and vLLM takes 16; launch vLLM with --max-lora-rank 32"),
        (elsewhere, "vLLM does not find the folder /nowhere"),
        (other, "trained on other, and the backend 'default' now serves small_model"),
    ):
        with pytest.raises(AdapterRefused, match=why):
            await adapted("default", vllm, adapter).identify()
