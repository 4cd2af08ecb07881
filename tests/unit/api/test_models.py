from dataclasses import replace
from typing import Any

from service.errors import BackendUnavailable
from service.scoring.calls.executor import CallExecutor
from service.scoring.prompts import PromptScorer
from service.scoring.wires import tgi
from tests.support.running.harness import CONFIG, Service, pairs
from tests.support.stores import ScratchStore
from tests.unit.scoring.twin_wire import FACTS, TwinWire


def service_over(wire: TwinWire) -> Service:
    """A service whose backend is this server."""
    return Service(ScratchStore(), PromptScorer("default", wire, CallExecutor(concurrency=4)))


async def submitted(service: Service, path: str = "/v1/jobs") -> tuple[int, dict[str, Any]]:
    answer = await service.client.post(path, json={"config": CONFIG, "examples": pairs(8)})
    return answer.status_code, answer.json()


async def test_all_findings_of_the_probe_are_in_the_answer() -> None:
    service = service_over(TwinWire(shift_warm=0.06))
    [found] = (await service.client.get("/v1/models")).json()["data"]
    assert found.pop("warm_difference_nats") - 0.06 < 1e-9
    [advice] = found.pop("advice")
    assert "VLLM_BATCH_INVARIANT=1" in advice
    assert found == {
        "id": "default",
        "object": "model",
        "default": True,
        "kind": "vllm",
        "ready": True,
        "reachable": True,
        "model": "twin",
        "revision": "abc",
        "server_version": "1",
        "replicas": 1,
        "context_tokens": 4096,
        "max_concurrent_requests": 64,
        "max_top_tokens": 20,
        "token_id_prompts": True,
        "tokenizer_agrees": True,
        "reports_tokens_computed": True,
        "prefix_cache": True,
        "cache_block_tokens": 16,
        "repeat_difference_nats": 0.0,
        "problems": [],
    }


async def test_a_list_asked_for_again_at_once_costs_the_server_nothing() -> None:
    wire = TwinWire()
    service = service_over(wire)
    first = (await service.client.get("/v1/models")).json()
    asked = len(wire.asked)
    assert (await service.client.get("/v1/models")).json() == first
    assert len(wire.asked) == asked


async def test_a_job_whose_labels_cannot_be_scored_is_refused_with_the_flag_to_set() -> None:
    wire = TwinWire(tgi.KIND, takes_token_ids=False, unreachable=frozenset({" No"}))
    for path in ("/v1/jobs", "/v1/jobs/estimate"):
        status, problem = await submitted(service_over(wire), path)
        assert (status, problem["type"]) == (422, "urn:icm:problem:backend-refused")
        assert "' No'" in problem["detail"]
        assert "--max-top-n-tokens" in problem["detail"]


async def test_labels_that_a_server_cannot_score_do_not_keep_it_from_others() -> None:
    service = service_over(TwinWire(unreachable=frozenset({" No"})))
    [found] = (await service.client.get("/v1/models")).json()["data"]
    assert found["ready"]


async def test_a_submission_is_refused_while_the_server_is_unavailable() -> None:
    status, problem = await submitted(service_over(TwinWire(fail=lambda _: BackendUnavailable("gone"))))
    assert (status, problem["type"]) == (503, "urn:icm:problem:backend-unavailable")
    assert "gone" in problem["detail"]


async def test_a_server_that_hides_its_context_is_refused_with_the_flag_to_set() -> None:
    status, problem = await submitted(service_over(TwinWire(server_facts=replace(FACTS, context_tokens=None))))
    assert status == 422
    assert "--max-model-len" in problem["detail"]


async def test_advice_is_among_the_warnings_of_an_estimate_and_stops_no_job() -> None:
    service = service_over(TwinWire(counts=False))
    status, found = await submitted(service, "/v1/jobs/estimate")
    assert status == 200
    [warning] = [text for text in found["warnings"] if "--enable-prompt-tokens-details" in text]
    assert warning.startswith("about the model: tokens computed are modelled")
    assert (await submitted(service))[0] == 202
