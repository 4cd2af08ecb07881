"""Which adapter a request means, on every wire; loading and unloading while the server runs."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from huggingface_hub import AsyncInferenceClient
from openai import AsyncOpenAI

from inference.adapters.registry import AdapterLimits, Adapters
from inference.app import create_app
from inference.batching.packed import NextToken
from inference.engine import Engine
from inference.settings import Limits
from tests.inference.lora import merged, read, save_adapter
from tests.support.inference.served import served
from tests.support.inference.tiny import CONTEXT_TOKENS, scores_of, train_tokenizer, until

PROMPT = "The city of Paris is in France."
LABELS = ["True", "False", "Paris"]
IDS = [train_tokenizer().encode(f" {label}", add_special_tokens=False)[0] for label in LABELS]
TREE = {"nodes": [{"parent": None, "text": PROMPT}], "queries": [{"node": 0, "text": ""}], "labels": LABELS}
CALLS = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")


@pytest.fixture
def root(tmp_path: Path, engine: Engine) -> Path:
    """A folder of adapters, one of which has the base's fingerprint, as ours do."""
    module = engine.language_model.module
    save_adapter(tmp_path / "adapters" / "one", module, seed=1, revision=engine.language_model.sha)
    save_adapter(tmp_path / "adapters" / "deep" / "two", module, seed=2)
    save_adapter(tmp_path / "outside", module, seed=3)
    return tmp_path / "adapters"


@asynccontextmanager
async def serving(engine: Engine, limits: AdapterLimits, **named: Path) -> AsyncIterator[httpx.AsyncClient]:
    adapters = Adapters(engine.language_model, limits)
    for name, folder in named.items():
        adapters.add(name, folder)
    app = create_app(engine, Limits(), None, adapters)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture
async def client(engine: Engine, root: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Adapter `one` is there from the start; others may be loaded."""
    async with serving(engine, AdapterLimits(root), one=root / "one") as made:
        yield made


async def load(client: httpx.AsyncClient, name: Any, path: Any, **fields: Any) -> httpx.Response:
    return await client.post(CALLS[0], json={"lora_name": name, "lora_path": path, **fields})


async def unload(client: httpx.AsyncClient, name: Any) -> httpx.Response:
    return await client.post(CALLS[1], json={"lora_name": name})


async def tree_scores(client: httpx.AsyncClient, **fields: Any) -> list[float]:
    reply = await client.post("/v1/score_tree", json={**TREE, **fields})
    assert reply.status_code == 200, reply.text
    (scores,) = reply.json()["log_probabilities"]
    return list(scores)


async def completion_scores(client: httpx.AsyncClient, model: str | None) -> list[float]:
    body = {"model": model, "prompt": PROMPT, "max_tokens": 1, "logprobs": 0, "logprob_token_ids": IDS}
    reply = await client.post("/v1/completions", json={**body, "return_tokens_as_token_ids": True})
    assert reply.json()["model"] == model or not model
    (top,) = reply.json()["choices"][0]["logprobs"]["top_logprobs"]
    return [top[f"token_id:{token}"] for token in IDS]


async def generate_scores(client: httpx.AsyncClient, adapter: str | None) -> list[float]:
    parameters = {"max_new_tokens": 1, "details": True, "top_n_tokens": 400, "adapter_id": adapter}
    reply = await client.post("/generate", json={"inputs": PROMPT, "parameters": parameters})
    top = {token["id"]: token["logprob"] for token in reply.json()["details"]["top_tokens"][0]}
    return [top[token] for token in IDS]


def expected(engine: Engine, folder: Path | None = None) -> Any:
    """By merged weights, without any of the server's own ways."""
    module = engine.language_model.module
    scored = merged(module, folder, 1.5) if folder else module
    return pytest.approx(scores_of(scored, train_tokenizer().encode(PROMPT))[IDS].tolist(), abs=5e-5)


async def test_every_wire_scores_with_the_adapter_that_is_named(
    client: httpx.AsyncClient, engine: Engine, root: Path
) -> None:
    scores = expected(engine, root / "one")
    assert await tree_scores(client, adapter="one") == scores
    assert await completion_scores(client, "one") == scores
    assert await generate_scores(client, "one") == scores


@pytest.mark.parametrize("name", [None, "tiny"])
async def test_the_base_scores_where_it_or_nothing_is_named(
    name: str | None, client: httpx.AsyncClient, engine: Engine
) -> None:
    assert await tree_scores(client, adapter=name) == expected(engine)
    assert await completion_scores(client, name) == expected(engine)
    assert await generate_scores(client, name) == expected(engine)
    assert await tree_scores(client) == await tree_scores(client, adapter="tiny")


async def test_every_wire_refuses_an_unknown_adapter(client: httpx.AsyncClient) -> None:
    tree = await client.post("/v1/score_tree", json={**TREE, "adapter": "none"})
    assert (tree.status_code, tree.json()) == (
        404,
        {"error": "adapter: The model `none` does not exist.", "error_type": "unknown_adapter"},
    )
    completion = await client.post("/v1/completions", json={"model": "none", "prompt": PROMPT})
    error = {"message": "The model `none` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}
    assert (completion.status_code, completion.json()) == (404, {"error": error})
    body = {"inputs": PROMPT, "parameters": {"adapter_id": "none"}}
    generated = await client.post("/generate", json=body)
    assert (generated.status_code, generated.json()["error_type"]) == (422, "validation")
    assert "`adapter_id` names no adapter of this server" in generated.json()["error"]


async def test_requests_for_several_adapters_at_once_get_their_own_scores(
    client: httpx.AsyncClient, engine: Engine, root: Path
) -> None:
    await load(client, "two", "deep/two")
    names = [None, "one", "two"] * 4
    scores = {
        None: expected(engine),
        "one": expected(engine, root / "one"),
        "two": expected(engine, root / "deep/two"),
    }
    answers = await asyncio.gather(*(tree_scores(client, adapter=name) for name in names))
    assert answers == [scores[name] for name in names]


async def test_models_are_listed_as_vllm_does(client: httpx.AsyncClient, root: Path) -> None:
    await load(client, "two", "deep/two")
    shown = (await client.get("/v1/models")).json()["data"]
    assert [(model["id"], model["parent"], model["root"]) for model in shown] == [
        ("tiny", None, "tiny"),
        ("one", "tiny", str(root / "one")),
        ("two", "tiny", "deep/two"),
    ]
    assert {model["max_model_len"] for model in shown} == {CONTEXT_TOKENS}


async def test_info_has_the_fingerprints_of_base_and_adapters(
    client: httpx.AsyncClient, engine: Engine, root: Path
) -> None:
    info = (await client.get("/info")).json()
    sha = read(root / "one", engine.language_model).sha
    assert info["model_sha"] == engine.language_model.sha != sha
    assert info["adapters"] == [{"id": "one", "sha": sha, "rank": 4, "parent": "tiny"}]


async def test_an_adapter_is_loaded_and_unloaded_in_vllms_words(
    client: httpx.AsyncClient, engine: Engine, root: Path
) -> None:
    reply = await load(client, "two", str(root / "deep" / "two"))
    assert (reply.status_code, reply.text) == (200, "Success: LoRA adapter 'two' added successfully.")
    assert await tree_scores(client, adapter="two") == expected(engine, root / "deep" / "two")
    reply = await unload(client, "two")
    assert (reply.status_code, reply.text) == (200, "Success: LoRA adapter 'two' removed successfully.")
    assert (await client.post("/v1/score_tree", json={**TREE, "adapter": "two"})).status_code == 404
    reply = await unload(client, "two")
    assert reply.status_code == 404
    assert reply.json()["error"]["message"] == "The lora adapter 'two' cannot be found."


async def test_a_name_stands_for_one_content(client: httpx.AsyncClient, root: Path) -> None:
    assert (await load(client, "one", "one")).status_code == 200
    shutil.copytree(root / "one", root / "copy")
    assert (await load(client, "one", "copy")).status_code == 200
    reply = await load(client, "one", "deep/two")
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "InvalidUserInput")
    assert "'one' has already been loaded, with other content" in reply.json()["error"]["message"]
    assert (await load(client, "one", "deep/two", load_inplace=True)).status_code == 400
    assert len((await client.get("/v1/models")).json()["data"]) == 2


async def test_of_two_contents_loaded_at_once_under_one_name_one_is_refused(client: httpx.AsyncClient) -> None:
    replies = await asyncio.gather(load(client, "new", "one"), load(client, "new", "deep/two"))
    assert sorted(reply.status_code for reply in replies) == [200, 400]


async def test_a_name_given_to_other_content_scores_as_that(
    client: httpx.AsyncClient, engine: Engine, root: Path
) -> None:
    assert await tree_scores(client, adapter="one") == expected(engine, root / "one")
    await unload(client, "one")
    await load(client, "one", "deep/two")
    assert await tree_scores(client, adapter="one") == expected(engine, root / "deep" / "two")


@pytest.mark.parametrize(
    ("name", "path", "status", "why"),
    [
        ("x", "../outside", 400, "leads out of the folder"),
        ("x", "/etc", 400, "leads out of the folder"),
        ("x", "link", 400, "leads out of the folder"),
        ("x", "none", 404, "Loading lora x failed: No adapter found for none"),
        ("x", "one/adapter_config.json", 404, "No adapter found"),
        ("x", "deep", 400, "the folder has no adapter_config.json"),
        ("x", "a\0b", 400, "lora_path"),
        ("x", "a" * 5000, 400, "it cannot be read"),
        ("tiny", "one", 400, "'tiny' is the name of the base"),
        ("a b", "one", 400, "is no name for an adapter"),
        ("../x", "one", 400, "is no name for an adapter"),
        ("", "one", 400, "lora_name"),
        (5, "one", 400, "lora_name"),
        ("x", "", 400, "lora_path"),
    ],
)
async def test_a_folder_that_may_not_be_loaded_is_refused(
    name: Any, path: Any, status: int, *, why: str, client: httpx.AsyncClient, root: Path
) -> None:
    (root / "link").symlink_to(root.parent / "outside")
    reply = await load(client, name, path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, status)
    assert why in reply.json()["error"]["message"]
    assert len((await client.get("/v1/models")).json()["data"]) == 2


async def test_as_many_adapters_are_loaded_as_the_operator_allows(engine: Engine, root: Path) -> None:
    async with serving(engine, AdapterLimits(root, max_adapters=1), one=root / "one") as client:
        reply = await load(client, "two", "deep/two")
        assert (reply.status_code, "--max-adapters" in reply.text) == (400, True)
        await unload(client, "one")
        assert (await load(client, "two", "deep/two")).status_code == 200


async def models(client: httpx.AsyncClient) -> list[str]:
    return [model["id"] for model in (await client.get("/v1/models")).json()["data"]]


async def test_the_least_recently_used_adapter_makes_room_for_the_next(engine: Engine, root: Path) -> None:
    save_adapter(root / "three", engine.language_model.module, seed=3)
    async with serving(engine, AdapterLimits(root, max_adapters=3), one=root / "one") as client:
        await load(client, "first", "deep/two")
        await load(client, "second", "three")
        await tree_scores(client, adapter="first")
        assert (await load(client, "third", "deep/two")).status_code == 200
        assert await models(client) == ["tiny", "one", "first", "third"]
        assert await tree_scores(client, adapter="one") == expected(engine, root / "one")


async def test_an_adapter_in_use_makes_room_only_where_all_are_in_use(
    engine: Engine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_adapter(root / "three", engine.language_model.module, seed=3)
    async with serving(engine, AdapterLimits(root, max_adapters=2)) as client:
        await load(client, "busy", "one")
        gate = Gate(engine, monkeypatch)
        asked = asyncio.create_task(tree_scores(client, adapter="busy"))
        await asyncio.to_thread(gate.entered.wait, 10)
        await load(client, "idle", "deep/two")
        await load(client, "next", "three")
        assert await models(client) == ["tiny", "busy", "next"]
        gate.opened.set()
        assert await asked == expected(engine, root / "one")


async def test_without_the_operators_leave_nothing_is_loaded_or_unloaded(engine: Engine, root: Path) -> None:
    async with serving(engine, AdapterLimits(), one=root / "one") as client:
        for reply in (await load(client, "two", str(root / "deep" / "two")), await unload(client, "one")):
            assert (reply.status_code, reply.json()["error"]["type"]) == (404, "NotFoundError")
            assert "--adapter-folder" in reply.json()["error"]["message"]
        assert await tree_scores(client, adapter="one") == expected(engine, root / "one")


class Gate:
    """Delays an engine's batches until a test opens it."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.entered = Event(), Event()
        self._score = engine.score
        monkeypatch.setattr(engine, "score", self.score)

    def score(self, *arguments: Sequence[Any]) -> list[NextToken]:
        self.entered.set()
        self.opened.wait(10)
        return self._score(*arguments)


async def test_a_request_under_way_ends_with_the_adapter_that_it_began_with(
    client: httpx.AsyncClient, engine: Engine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.tree_scores.PIECE_TOKENS", 1)  # so that most of it is asked for later
    await tree_scores(client)
    of_base = engine.cached_tokens
    gate = Gate(engine, monkeypatch)
    queries = [{"node": 0, "text": text} for text in ("", " It", " Is", "")]
    asked = asyncio.create_task(client.post("/v1/score_tree", json={**TREE, "queries": queries, "adapter": "one"}))
    await asyncio.to_thread(gate.entered.wait, 10)
    assert (await unload(client, "one")).status_code == 200
    assert (await client.post("/v1/score_tree", json={**TREE, "adapter": "one"})).status_code == 404
    gate.opened.set()
    rows = (await asked).json()["log_probabilities"]
    assert rows[0] == rows[3] == expected(engine, root / "one")
    await until(lambda: engine.cached_tokens == of_base)
    assert await tree_scores(client) == expected(engine)


async def test_a_client_that_hangs_up_releases_an_unloaded_adapter(
    engine: Engine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(engine, Limits(), None, Adapters(engine.language_model, AdapterLimits(root)))
    gate = Gate(engine, monkeypatch)
    with served(app) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            await load(client, "one", "one")
            asked = asyncio.create_task(client.post("/v1/score_tree", json={**TREE, "adapter": "one"}))
            await asyncio.to_thread(gate.entered.wait, 10)
            await unload(client, "one")
            asked.cancel()
            await asyncio.wait([asked])
            gate.opened.set()
            await until(lambda: app.state.serving.in_flight == 0 and app.state.serving.scheduler.waiting == 0)
            await until(lambda: engine.cached_tokens == 0)
            assert await tree_scores(client) == expected(engine)


async def test_content_with_two_names_is_held_until_the_last_is_gone(client: httpx.AsyncClient, engine: Engine) -> None:
    await load(client, "again", "one")
    await tree_scores(client, adapter="one")
    held = engine.cached_tokens
    await tree_scores(client, adapter="again")
    assert engine.cached_tokens == held > 0
    await unload(client, "one")
    await tree_scores(client)
    assert engine.cached_tokens == 2 * held
    await unload(client, "again")
    await until(lambda: engine.cached_tokens == held)


async def test_public_clients_ask_for_an_adapter_in_their_own_words(engine: Engine, root: Path) -> None:
    adapters = Adapters(engine.language_model)
    adapters.add("one", root / "one")
    scored = merged(engine.language_model.module, root / "one", 1.5)
    best = pytest.approx(float(scores_of(scored, train_tokenizer().encode(PROMPT)).max()), abs=5e-5)
    with served(create_app(engine, Limits(), None, adapters)) as url:
        async with AsyncInferenceClient(model=url) as tgi:
            output = await tgi.text_generation(PROMPT, details=True, max_new_tokens=1, adapter_id="one")
        assert output.details is not None
        assert output.details.tokens[0].logprob == best
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as openai:
            assert [model.id async for model in openai.models.list()] == ["tiny", "one"]
            answer = await openai.completions.create(
                model="one", prompt=PROMPT, max_tokens=1, logprobs=1, temperature=0
            )
        assert answer.choices[0].logprobs is not None
        assert answer.choices[0].logprobs.token_logprobs is not None
        assert answer.choices[0].logprobs.token_logprobs[0] == best
