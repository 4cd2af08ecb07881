"""TGI's adapter and servers exchange only what TGI's OpenAPI document allows, as `tgi_shapes.py` states it."""

from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError

from inference.app import create_app
from inference.settings import Limits
from service.errors import BackendError
from service.identifiers import Row
from service.search.predictions.prompt_tree import PromptTree, Query
from tests.servers.adapters import ALL_TOKENS, rig_of
from tests.servers.fake import Seen
from tests.servers.faults import Fault, Plan
from tests.servers.proxy import FaultyEmbedded
from tests.servers.tgi import FakeTgi
from tests.servers.tgi_shapes import ErrorResponse, GenerateResponse, Responses, TokenizeResponse
from tests.support.inference.served import served
from tests.support.inference.tiny import engine_of, llama

TREE = PromptTree(
    "Paris is in France. True\n\n", (Query(Row(0), "Rome is in Spain."), Query(Row(1), "Où? Oslo is in Norway."))
)
ADDED = {  # by the embedded server, beside what the document names
    "/info": {"max_top_n_tokens", "model_dtype", "model_device_type", "adapters"},
    "/generate": {"prompt_tokens", "computed_tokens"},
}
SENT_IN_ADDITION = {"stream"}  # by the public client, to every server; false, which is what /generate does anyway


def assert_requests_conform(seen: Sequence[Seen]) -> set[str]:
    """Every body is a request of the document; gives the paths that were asked."""
    for call in seen:
        shape = Responses.REQUESTS.get((call.method, call.path))
        if shape is not None:
            body = {name: value for name, value in call.body.items() if name not in SENT_IN_ADDITION}
            shape.model_validate(body)
        else:
            assert (call.method, call.path) in Responses.BY_CALL, call.path
    return {call.path for call in seen}


def shape_of(method: str, path: str, status: int) -> type[BaseModel]:
    return Responses.BY_CALL[method, path][status]


async def test_every_request_of_the_adapter_is_one_of_the_document() -> None:
    server = FakeTgi(max_top_n_tokens=5)
    async with rig_of("tgi", server) as rig:
        await rig.scorer.probe(("True", "False"))
        await rig.scorer.identify()
        await rig.scorer.score(TREE, ("green", "one"))  # improbable, so that a grammar is needed
        await rig.scorer.count_tokens(["Rome is"])
    assert assert_requests_conform(server.seen) >= {"/generate", "/info", "/tokenize"}
    asked = [call.body["parameters"] for call in server.scored]
    assert any("grammar" in parameters for parameters in asked)
    assert not any(parameters.get("decoder_input_details") for parameters in asked)
    assert not {"temperature", "top_k", "top_p", "repetition_penalty"} & {name for each in asked for name in each}


async def test_every_reply_of_the_fake_server_is_one_of_the_document() -> None:
    faults = {2: Fault.OVERLOADED, 4: Fault.FAILED}
    server = FakeTgi(max_top_n_tokens=5, plan=Plan(at=faults))
    async with rig_of("tgi", server) as rig:
        await rig.scorer.probe(("True", "False"))
        await rig.scorer.score(TREE, ("green", "one"))
        with pytest.raises(BackendError):
            await rig.scorer.score(PromptTree("", (Query(Row(0), " is" * 5000),)), ("True", "False"))
    answered = {(seen.path, seen.status): seen for seen in server.seen if seen.status is not None}
    assert {status for _, status in answered} >= {200, 422, 429, 500}
    for (path, status), seen in answered.items():
        shape_of(seen.method, path, status).model_validate_json(_json(seen))


def _json(seen: Seen) -> bytes:
    return httpx.Response(200, json=seen.reply).content


@pytest.fixture(scope="module")
def embedded_url() -> Iterator[str]:
    """The embedded server over a tiny language model."""
    with served(create_app(engine_of(llama()), Limits(max_top_n_tokens=2000))) as url:
        yield url


BODIES: dict[str, tuple[str, Any, int]] = {
    "alternatives": ("/generate", {"inputs": "is", "parameters": {"top_n_tokens": 3, "max_new_tokens": 2}}, 200),
    "no details": ("/generate", {"inputs": "is", "parameters": {"details": False, "max_new_tokens": 1}}, 200),
    "prompt details": (
        "/generate",
        {"inputs": "is", "parameters": {"decoder_input_details": True, "max_new_tokens": 1}},
        200,
    ),
    "as the hosted API": ("/", {"inputs": "is", "parameters": {"max_new_tokens": 1}}, 200),
    "tokens": ("/tokenize", {"inputs": "Où is it?"}, 200),
    "too many alternatives": ("/generate", {"inputs": "is", "parameters": {"top_n_tokens": 5000}}, 422),
    "no prompt": ("/generate", {"inputs": ""}, 422),
    "too long": ("/generate", {"inputs": " is" * 1000}, 422),
}


def without_additions(path: str, content: Any) -> Any:
    """The reply without the fields that the embedded server is known to add."""
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict):
            holder = part if path == "/info" else part.get("details")
            for name in ADDED.get("/generate" if path == "/" else path, ()):
                if isinstance(holder, dict):
                    holder.pop(name, None)
    return content


@pytest.mark.parametrize("case", BODIES)
async def test_every_reply_of_the_embedded_server_is_one_of_the_document(case: str, embedded_url: str) -> None:
    path, body, status = BODIES[case]
    async with httpx.AsyncClient(base_url=embedded_url, trust_env=False) as client:
        reply = await client.post(path, json=body)
    assert reply.status_code == status
    content = httpx.Response(200, json=without_additions(path, reply.json())).content
    shape_of("POST", path, status).model_validate_json(content)


async def test_the_embedded_servers_info_has_every_field_of_the_document(embedded_url: str) -> None:
    async with httpx.AsyncClient(base_url=embedded_url, trust_env=False) as client:
        content = without_additions("/info", (await client.get("/info")).json())
    shape_of("GET", "/info", 200).model_validate(content)


async def test_requests_to_the_embedded_server_are_those_of_the_document(embedded_url: str) -> None:
    server = FaultyEmbedded(embedded_url)
    async with rig_of("tgi", server, max_top_tokens=ALL_TOKENS) as rig:
        await rig.scorer.probe(("True", "False"))
        await rig.scorer.score(TREE, ("True", "False"))
    assert assert_requests_conform(server.seen) >= {"/generate", "/info", "/tokenize"}


def details(**changes: Any) -> dict[str, Any]:
    good = {"finish_reason": "length", "generated_tokens": 1, "prefill": [], "tokens": []}
    return {"generated_text": " True", "details": good | changes}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"generated_text": " True", "details": None, "extra": 1},
        {"details": None},
        details(finish_reason="abort"),
        details(generated_tokens=-1),
    ],
    ids=["more than is named", "less than is required", "a reason of no name", "a negative count"],
)
def test_a_reply_of_another_form_does_not_pass_for_one(spoilt: Any) -> None:
    with pytest.raises(ValidationError):
        GenerateResponse.model_validate(spoilt)


def test_shapes_are_strict() -> None:
    with pytest.raises(ValidationError):
        TokenizeResponse.model_validate([{"id": "1", "text": "is", "start": 0, "stop": 2}])
    with pytest.raises(ValidationError):
        ErrorResponse.model_validate({"error": "no"})
