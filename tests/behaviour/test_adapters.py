"""A LoRA adapter is a model name: backends that share one real embedded server with different adapters."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.labelling.configuration import parse_config
from inference.adapters.registry import AdapterLimits, Adapters
from inference.app import create_app
from inference.settings import Limits
from service.bootstrap import Application, build_application
from service.errors import BackendRefused, BackendUnavailable
from service.identifiers import Row
from service.jobs.submission.estimate import estimate
from service.search.predictions.prompt_tree import PromptTree, Query
from service.settings import Settings
from tests.inference.lora import save_adapter
from tests.support.inference.served import served
from tests.support.inference.tiny import engine_of, llama
from tests.support.memory import MemoryStore
from tests.support.sources import source

LABELS = ("True", "False")
TEXTS = ("Paris is in Spain.", "Rome is in Italy.")
TREE = PromptTree("Oslo is in Norway. True\n\n", tuple(Query(Row(number), text) for number, text in enumerate(TEXTS)))
BODY = {
    "nodes": [{"parent": None, "text": "Oslo is in Norway. True\n\n"}],
    "queries": [{"node": 0, "text": text} for text in TEXTS],
    "labels": LABELS,
}
NAMES = ("default", "one", "two", "missing")


@dataclass(frozen=True)
class Server:
    """A real embedded server with the adapters `one` and `two`, and the folder that it may load others from."""

    url: str
    folder: Path

    def load(self, name: str, path: str) -> None:
        """Load an adapter while the server runs."""
        body = {"lora_name": name, "lora_path": path}
        httpx.post(f"{self.url}/v1/load_lora_adapter", json=body).raise_for_status()

    def unload(self, name: str) -> None:
        """Remove an adapter while the server runs."""
        httpx.post(f"{self.url}/v1/unload_lora_adapter", json={"lora_name": name}).raise_for_status()

    def scores(self, adapter: str | None) -> Any:
        """What the server itself answers, without the service."""
        reply = httpx.post(f"{self.url}/v1/score_tree", json={**BODY, "adapter": adapter})
        reply.raise_for_status()
        return reply.json()["log_probabilities"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    engine, folder = engine_of(llama()), tmp_path_factory.mktemp("adapters")
    adapters = Adapters(engine.language_model, AdapterLimits(folder))
    for seed, name in enumerate(("one", "two")):
        adapters.add(name, save_adapter(folder / name, engine.language_model.module, seed=seed))
    with served(create_app(engine, Limits(), adapters=adapters)) as url:
        yield Server(url, folder)


@pytest.fixture
async def application(server: Server) -> AsyncIterator[Application]:
    backends: list[dict[str, Any]] = [{"name": name, "kind": "embedded", "url": server.url} for name in NAMES]
    for backend in backends[1:]:
        backend["adapter"] = backend["name"]
    made = build_application(Settings(backends=backends), store=MemoryStore())
    yield made
    await made.close()


async def test_each_name_scores_as_the_server_does_with_its_adapter(application: Application, server: Server) -> None:
    told = dict[str, Any]()
    for name, adapter in (("default", None), ("one", "one"), ("two", "two")):
        scores = await application.scorers.get(name).score(TREE, LABELS)
        told[name] = [list(scores.log_probabilities[Row(number)]) for number in range(len(TEXTS))]
        assert told[name] == [pytest.approx(values, abs=1e-5) for values in server.scores(adapter)]
    assert told["default"] != told["one"] != told["two"] != told["default"]


async def test_the_probe_finds_an_adapter_ready_and_names_base_and_adapter(application: Application) -> None:
    base, one = [await application.scorers.get(name).probe(LABELS) for name in ("default", "one")]
    assert (one.ready, one.problems, one.advice) == (True, (), ())
    assert (one.model, one.context_tokens) == (f"{base.model} + one", base.context_tokens)
    assert await application.scorers.get("one").count_tokens(TEXTS) == await application.scorers.get(
        "default"
    ).count_tokens(TEXTS)


async def test_base_and_adapters_differ_in_fingerprint_and_canary(application: Application) -> None:
    found = [await application.scorers.get(name).identify() for name in ("default", "one", "two")]
    assert len({identity.fingerprint for identity in found}) == len({identity.canary for identity in found}) == 3
    again = await application.scorers.get("one").identify()
    assert [again.agrees_with(identity) for identity in found] == [False, True, False]


async def test_other_content_under_the_same_name_is_another_identity(application: Application, server: Server) -> None:
    server.load("missing", "one")
    first = await application.scorers.get("missing").identify()
    server.unload("missing")
    server.load("missing", "two")
    assert not first.agrees_with(await application.scorers.get("missing").identify())
    server.unload("missing")


async def test_the_problem_of_an_adapter_that_the_server_lacks_names_the_remedy(application: Application) -> None:
    info = await application.scorers.get("missing").probe(LABELS)
    assert (info.ready, info.reachable) == (False, True)
    [problem] = info.problems
    assert problem == (
        "the server has no adapter 'missing'; set the backend's adapter to one of: one, two; "
        "or launch the server with --adapter missing=FOLDER"
    )


async def test_a_job_for_an_adapter_that_the_server_lacks_is_refused(application: Application) -> None:
    task = {"template": "{q} is", "labels": LABELS}
    config = parse_config({"name": "a", "model": "missing", "task": task})
    with pytest.raises(BackendRefused, match=r"model 'missing' cannot.* no adapter 'missing'; set .* one of: one, two"):
        await estimate(config, source({"q": "Rome"}, {"q": "Oslo"}), application.scorers)


async def test_an_adapter_unloaded_during_a_job_is_an_outage_until_it_is_loaded_again(
    application: Application, server: Server
) -> None:
    scorer = application.scorers.get("missing")
    server.load("missing", "one")
    before, scores = await scorer.identify(), await scorer.score(TREE, LABELS)
    server.unload("missing")
    for attempt in (scorer.identify(), scorer.score(TREE, LABELS)):
        with pytest.raises(BackendUnavailable, match="no adapter 'missing'"):
            await attempt
    server.load("missing", "one")
    assert before.agrees_with(await scorer.identify())
    assert (await scorer.score(TREE, LABELS)).log_probabilities[Row(0)] == pytest.approx(
        scores.log_probabilities[Row(0)], abs=1e-5
    )
    server.unload("missing")
