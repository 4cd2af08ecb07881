import pytest

from service.scoring.embedded import EmbeddedScorer
from service.scoring.kinds import detector
from tests.support.inference.tiny import CONTEXT_TOKENS
from tests.unit.scoring.loopback import Loopback


@pytest.mark.parametrize("labels", [(), ("New York", "New Delhi", "Oslo")])
async def test_what_the_embedded_server_is_and_does_is_measured(embedded_url: str, labels: tuple[str, ...]) -> None:
    scorer = EmbeddedScorer("default", embedded_url)
    info = await scorer.probe(labels)
    await scorer.close()
    assert (info.ready, info.problems, info.advice) == (True, (), ())
    assert (info.kind, info.context_tokens) == ("embedded", CONTEXT_TOKENS - 1)
    assert (info.reports_tokens_computed, info.prefix_cache, info.cache_block_tokens) == (True, True, 1)
    assert (info.token_id_prompts, info.tokenizer_agrees) == (False, True)
    for difference in (info.repeat_difference_nats, info.warm_difference_nats):
        assert difference is not None
        assert 0 <= difference < 1e-4


async def test_labels_of_the_same_tokens_are_a_problem_of_the_embedded_server(embedded_url: str) -> None:
    scorer = EmbeddedScorer("default", embedded_url)
    info = await scorer.probe(["True", "True"])
    await scorer.close()
    assert (info.ready, info.reachable) == (False, True)
    assert "same" in info.problems[0]


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ({"/info": [{"model_id": "m", "router": "text-generation-router"}]}, "tgi"),
        ({"/version": [{"version": "1"}], "/v1/models": [{"data": [{"owned_by": "vllm"}]}]}, "vllm"),
    ],
    ids=["tgi", "vllm"],
)
async def test_another_server_at_its_address_is_named_with_the_setting_to_change(
    loopback: Loopback, replies: dict[str, list[object]], kind: str
) -> None:
    loopback.plan(replies)
    scorer = EmbeddedScorer("default", loopback.url, detect=detector(loopback.url))
    info = await scorer.probe()
    await scorer.close()
    assert (info.ready, info.reachable) == (False, True)
    [problem] = info.problems
    assert f"`kind` to {kind!r}" in problem
