from collections.abc import Mapping
from typing import Any

import pytest

from service.scoring import embedded
from service.scoring.calls.executor import CallExecutor
from service.scoring.kinds import KINDS, detector
from service.scoring.probing.probe import Examiner
from service.scoring.wires import vllm
from service.scoring.wires.detection import misconfigured
from service.scoring.wires.settings import BackendSettings
from service.scoring.wires.vllm import VllmWire
from tests.unit.scoring.loopback import Loopback

# What each kind answers without computing anything, as its sources and documents have it.
TGI = {"/info": {"model_id": "m", "router": "text-generation-router", "version": "3.3.7"}, "/v1/models": {"data": []}}
SGLANG = {
    "/model_info": {"model_path": "m", "tokenizer_path": "m", "is_generation": True},
    "/v1/models": {"data": [{"id": "m", "owned_by": "sglang"}]},
    "/version": {"version": "0.5.23"},
}
OLD_SGLANG = {"/get_model_info": {"model_path": "m", "is_generation": True}}
LLAMACPP = {
    "/props": {"default_generation_settings": {"n_ctx": 4096}, "total_slots": 4, "build_info": "b7000"},
    "/v1/models": {"data": [{"id": "m", "owned_by": "llamacpp"}]},
}
VLLM = {"/version": {"version": "0.33.0"}, "/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]}}
PROXY = {"/v1/models": {"data": [{"id": "m", "owned_by": "openai"}]}, "/version": {"version": "1"}}
STRANGE = {"/info": ["router"], "/version": {"version": "1"}, "/v1/models": {"data": "none"}}


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        (TGI, "tgi"),
        (SGLANG, "sglang"),
        (OLD_SGLANG, "sglang"),
        (LLAMACPP, "llamacpp"),
        (VLLM, "vllm"),
        (PROXY, None),
        (STRANGE, None),
        ({}, None),
    ],
    ids=["tgi", "sglang", "old-sglang", "llamacpp", "vllm", "proxy", "strange", "nothing"],
)
async def test_each_kind_is_recognised_by_documents_that_it_alone_serves(
    loopback: Loopback, replies: Mapping[str, Any], kind: str | None
) -> None:
    loopback.plan({path: [reply] for path, reply in replies.items()})
    found = await detector(loopback.url)()
    assert (found and found.name) == kind


async def test_the_embedded_server_is_distinguished_from_text_generation_inference(embedded_url: str) -> None:
    assert await detector(embedded_url)() is embedded.KIND


async def test_where_nothing_answers_no_kind_is_found() -> None:
    assert await detector("http://127.0.0.1:9")() is None


async def test_a_server_that_asks_for_a_key_is_given_it(loopback: Loopback) -> None:
    loopback.plan({path: [reply] for path, reply in VLLM.items()})
    assert await detector(loopback.url, api_key="secret")() is vllm.KIND
    assert loopback.keys == {"Bearer secret"}


@pytest.mark.parametrize("backend", KINDS.values())
def test_a_backend_of_the_kind_it_is_configured_as_is_right(backend: type[BackendSettings]) -> None:
    assert misconfigured(backend.of_kind, backend.of_kind) is None


@pytest.mark.parametrize(
    ("configured", "found", "right"),
    [
        ("tgi", "embedded", True),
        ("vllm", "embedded", True),
        ("embedded", "tgi", False),
        ("sglang", "embedded", False),
        ("vllm", "sglang", False),
        ("llamacpp", None, True),
    ],
)
def test_a_server_that_speaks_the_configured_wire_as_well_is_right(
    configured: str, found: str | None, right: bool
) -> None:
    assert (misconfigured(KINDS[configured].of_kind, KINDS[found].of_kind if found else None) is None) == right


async def test_a_vllm_backend_whose_address_is_a_llama_server_says_which_setting_to_change(loopback: Loopback) -> None:
    loopback.plan({path: [reply] for path, reply in LLAMACPP.items()})
    wire = VllmWire(loopback.url, timeout_seconds=5, connections=1)
    info = await Examiner("default", wire, CallExecutor(concurrency=1), detector(loopback.url))()
    await wire.close()
    assert (info.ready, info.reachable) == (False, True)
    assert "`kind` to 'llamacpp'" in info.problems[0]
    assert "BACKEND_KIND" in info.problems[0]


async def test_the_embedded_server_through_its_vllm_wire_is_ready_and_measured(embedded_url: str) -> None:
    wire = VllmWire(embedded_url, timeout_seconds=10, connections=8)
    info = await Examiner("default", wire, CallExecutor(concurrency=8), detector(embedded_url))(["True", "False"])
    await wire.close()
    assert (info.ready, info.problems) == (True, ())
    assert (info.prefix_cache, info.cache_block_tokens, info.reports_tokens_computed) == (True, 1, True)
    assert info.repeat_difference_nats is not None
    assert info.repeat_difference_nats < 1e-4
    assert info.warm_difference_nats is not None
    assert info.warm_difference_nats < 1e-4
