"""What the probe finds out about each kind of server through its real adapter, over fake servers with each defect."""

from contextlib import AsyncExitStack

import pytest

from service.bootstrap import build_application
from service.records.scoring import BackendInfo
from service.scoring.embedded import EmbeddedScorer
from service.scoring.kinds import backend_of, detector
from service.scoring.prompts import PromptScorer
from service.settings import Settings
from tests.servers.adapters import MAX_TOP_TOKENS, Waits, fake_of, wire_of
from tests.servers.asking import KINDS
from tests.servers.connections import serving
from tests.servers.fake import FakeServer
from tests.servers.faults import Fault, Plan
from tests.servers.language_model import ToyLanguageModel, ToyTokenizer
from tests.servers.llamacpp import FakeLlamaCpp
from tests.servers.sglang import FakeSglang
from tests.servers.tgi import FakeTgi
from tests.servers.vllm import FakeVllm
from tests.support.memory import MemoryStore

LABELS = ("True", "False")
ids_and_text = pytest.mark.parametrize("kind", ["vllm", "tgi"])  # the forms in which prompts travel


async def probed(
    server: FakeServer, *labels: str, kind: str | None = None, max_top_tokens: int = MAX_TOP_TOKENS
) -> BackendInfo:
    """The probe's findings by a scorer of this kind, by default that of the server."""
    kind = kind or server.kind
    async with serving(server) as url:
        executor = Waits().executor()
        scorer: EmbeddedScorer | PromptScorer = EmbeddedScorer("default", url, executor=executor, detect=detector(url))
        if kind != "embedded":
            wire = wire_of(kind, url, max_top_tokens=max_top_tokens)
            scorer = PromptScorer("default", wire, executor, detect=detector(url))
        try:
            return await scorer.probe(labels or LABELS)
        finally:
            await scorer.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_launched_as_its_guide_recommends_is_ready(kind: str) -> None:
    info = await probed(fake_of(kind))
    assert (info.ready, info.problems) == (True, ())
    assert (info.kind, info.tokenizer_agrees, info.token_id_prompts) == (kind, True, kind != "tgi")
    assert (info.repeat_difference_nats, info.warm_difference_nats) == (0.0, 0.0)
    assert info.context_tokens is not None
    assert 4_000 < info.context_tokens < 4_096
    assert "toy" in str(info.model)


@pytest.mark.parametrize(
    ("server", "block"),
    [
        (FakeVllm(block_tokens=128), 128),
        (FakeSglang(page_size=64), 64),
        (FakeLlamaCpp(), 1),
    ],
    ids=["vllm-on-cpu", "sglang-in-pages", "llamacpp"],
)
async def test_the_prefix_cache_is_measured_by_the_servers_own_counts(server: FakeServer, block: int) -> None:
    info = await probed(server)
    assert (info.reports_tokens_computed, info.prefix_cache, info.cache_block_tokens) == (True, True, block)


@pytest.mark.parametrize(
    ("server", "flag"),
    [(FakeVllm(tells_cached_tokens=False), "--enable-prompt-tokens-details"), (fake_of("tgi"), "never does")],
    ids=["vllm", "tgi"],
)
async def test_if_a_server_counts_no_tokens_the_probe_reports_no_cache(server: FakeServer, flag: str) -> None:
    info = await probed(server)
    assert info.ready
    assert (info.reports_tokens_computed, info.prefix_cache, info.cache_block_tokens) == (False, None, None)
    assert any("modelled" in advice and flag in advice for advice in info.advice)


async def test_advice_for_a_server_without_cache_says_how_to_turn_it_on() -> None:
    info = await probed(FakeSglang(radix_cache=False))
    assert (info.ready, info.prefix_cache) == (True, False)
    assert any("--disable-radix-cache" in advice for advice in info.advice)


async def test_a_vllm_from_before_chosen_tokens_is_used_all_the_same() -> None:
    assert (await probed(FakeVllm(names_chosen_tokens=False))).ready


async def test_a_tgi_that_names_few_tokens_gives_differences_alone_and_advice_names_the_flag() -> None:
    info = await probed(FakeTgi(max_top_n_tokens=5), "blue", "Spain")
    assert (info.ready, info.max_top_tokens) == (True, 5)
    assert any("against each other" in advice and "--max-top-n-tokens" in advice for advice in info.advice)


async def test_a_tgi_that_names_few_tokens_cannot_score_labels_of_several() -> None:
    info = await probed(FakeTgi(max_top_n_tokens=1), "blue Spain", "blue Oslo")
    assert not info.ready
    assert all("--max-top-n-tokens" in problem for problem in info.problems)


@ids_and_text
async def test_a_label_that_a_server_does_not_score_is_named(kind: str) -> None:
    server = fake_of(kind)
    server.plan = Plan(share=1.0, drawn=(Fault.MISSING_LABEL,), spared_after=1_000)
    info = await probed(server)
    assert (info.ready, info.reachable) == (False, True)
    assert any("' False'" in problem for problem in info.problems)


@ids_and_text
async def test_the_probe_notices_a_tokenizer_that_merges_a_label_with_the_prompt(kind: str) -> None:
    server = fake_of(kind)
    server.model = ToyLanguageModel(ToyTokenizer(glued=(" is: True",)))
    info = await probed(server)
    assert (info.ready, info.tokenizer_agrees) == (True, False)
    assert any("':'" in advice for advice in info.advice)


@pytest.mark.parametrize(
    ("configured", "kind"),
    [
        ("tgi", "vllm"),
        ("vllm", "sglang"),
        ("vllm", "llamacpp"),
        ("sglang", "vllm"),
        ("llamacpp", "tgi"),
        ("embedded", "tgi"),
        ("embedded", "llamacpp"),
    ],
)
async def test_a_backend_configured_as_another_kind_says_which_setting_to_change(configured: str, kind: str) -> None:
    info = await probed(fake_of(kind), kind=configured)
    assert (info.ready, info.reachable, info.kind) == (False, True, configured)
    [problem] = info.problems
    assert f"`kind` to {kind!r}" in problem


@ids_and_text
async def test_transient_failures_do_not_change_the_findings(kind: str) -> None:
    server = fake_of(kind)
    server.plan = Plan(share=0.5, drawn=(Fault.FAILED, Fault.OVERLOADED, Fault.RESET_BEFORE, Fault.CUT_JSON))
    info = await probed(server)
    assert (info.ready, info.problems) == (True, ())
    assert info.warm_difference_nats == 0.0


async def probed_as_configured(*servers: FakeServer, kind: str) -> BackendInfo:
    """The probe's findings by a backend with replicas, composed from settings as the API composes it."""
    async with AsyncExitStack() as running:
        url, *replicas = [await running.enter_async_context(serving(server)) for server in servers]
        backend = backend_of(kind=kind, url=url, replicas=replicas, api_key="secret")
        application = build_application(Settings(backends=(backend,)), store=MemoryStore())
        try:
            return await application.scorers.get("default").probe(LABELS)
        finally:
            await application.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_backend_put_together_from_its_settings_is_ready(kind: str) -> None:
    server = fake_of(kind)
    server.api_key = "secret"
    info = await probed_as_configured(server, kind=kind)
    assert (info.ready, info.problems, info.replicas) == (True, (), 1)


async def test_replicas_are_probed_each_by_itself() -> None:
    info = await probed_as_configured(FakeVllm(block_tokens=128), FakeVllm(), kind="vllm")
    assert (info.ready, info.problems, info.replicas) == (True, (), 2)
    assert info.cache_block_tokens == 128


async def test_a_replica_of_another_kind_is_named() -> None:
    info = await probed_as_configured(FakeVllm(), FakeSglang(), kind="vllm")
    assert not info.ready
    assert any(problem.startswith("replica 2: ") and "`kind` to 'sglang'" in problem for problem in info.problems)
