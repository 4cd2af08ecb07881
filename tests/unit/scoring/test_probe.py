import math
from dataclasses import replace

import pytest

from service.errors import BackendError, BackendRefused, BackendUnavailable, FailureKind
from service.records.scoring import BackendInfo
from service.scoring import embedded
from service.scoring.calls.executor import CallExecutor
from service.scoring.kinds import KINDS
from service.scoring.probing.cache_trial import LENGTHS_TOKENS
from service.scoring.probing.label_trial import PROBE_TEXT
from service.scoring.probing.probe import EXAMPLES, Examiner
from service.scoring.wires.detection import DetectKind
from service.scoring.wires.kind import Kind
from tests.unit.scoring.twin_wire import FACTS, TwinWire

ids_and_text = pytest.mark.parametrize("kind", ["vllm", "tgi"])  # the forms in which prompts travel


def twin(kind: str, **defects: object) -> TwinWire:
    return replace(TwinWire(KINDS[kind].of_kind, takes_token_ids=kind != "tgi"), **defects)  # type: ignore[arg-type]  # fields of every type


def examiner_of(wire: TwinWire, detect: DetectKind | None = None) -> Examiner:
    return Examiner("default", wire, CallExecutor(concurrency=8), detect)


async def probed(wire: TwinWire, *labels: str, all_spellings: bool = False) -> BackendInfo:
    return await examiner_of(wire)(labels, all_spellings=all_spellings)


@ids_and_text
async def test_a_server_without_defects_is_ready_and_fully_described(kind: str) -> None:
    info = await probed(twin(kind), "True", "False")
    assert info == BackendInfo(
        name="default",
        kind=kind,
        ready=True,
        model="twin",
        revision="abc",
        server_version="1",
        context_tokens=4096,
        max_concurrent_requests=64,
        reports_tokens_computed=True,
        token_id_prompts=kind != "tgi",
        tokenizer_agrees=True,
        max_top_tokens=20,
        prefix_cache=True,
        cache_block_tokens=16,
        repeat_difference_nats=0.0,
        warm_difference_nats=0.0,
    )


@pytest.mark.parametrize(("kind", "block"), [("tgi", 32), *(("vllm", block) for block in (1, 8, 64, 128))])
async def test_the_size_of_cache_blocks_is_found(kind: str, block: int) -> None:
    info = await probed(twin(kind, block=block))
    assert (info.prefix_cache, info.cache_block_tokens) == (True, block)
    assert any("blocks" in advice for advice in info.advice) == (block > 64)


async def test_a_server_that_counts_nothing_is_ready_and_its_costs_are_modelled() -> None:
    info = await probed(twin("vllm", counts=False))
    assert info.ready
    assert (info.reports_tokens_computed, info.prefix_cache, info.cache_block_tokens) == (False, None, None)
    assert "modelled" in info.advice[0]
    assert "--enable-prompt-tokens-details" in info.advice[0]


@pytest.mark.parametrize(
    ("kind", "flag"),
    [("vllm", "--enable-prefix-caching"), ("sglang", "--disable-radix-cache")],
)
async def test_a_server_without_a_prefix_cache_is_ready_with_advice_how_to_turn_it_on(kind: str, flag: str) -> None:
    info = await probed(twin(kind, block=0))
    assert (info.ready, info.prefix_cache, info.cache_block_tokens) == (True, False, None)
    assert any(flag in advice for advice in info.advice)


@pytest.mark.parametrize(("kind", "change"), [("vllm", "--max-logprobs"), ("tgi", "--max-top-n-tokens")])
async def test_labels_without_a_log_probability_are_named_with_one_remedy(kind: str, change: str) -> None:
    info = await probed(twin(kind, unreachable=frozenset({" False", " Perhaps"})), "True", "False", "Perhaps")
    assert not info.ready
    assert info.reachable
    [problem] = info.problems
    assert problem.startswith(f"no log-probability for ' False', ' Perhaps' after {PROBE_TEXT!r}: ")
    assert problem.count(change) == 1


async def test_with_all_spellings_each_of_them_must_be_reachable() -> None:
    wire = twin("vllm", unreachable=frozenset({" TRUE"}))
    assert (await probed(wire, "True", "False")).ready
    [problem] = (await probed(wire, "True", "False", all_spellings=True)).problems
    assert "' TRUE'" in problem


async def test_examples_are_tried_where_no_labels_are_given() -> None:
    [problem] = (await probed(twin("tgi", unreachable=frozenset({f" {EXAMPLES[1]}"})))).problems
    assert EXAMPLES[1] in problem


async def test_differences_of_half_precision_between_cold_and_warm_are_advice() -> None:
    info = await probed(twin("vllm", shift_warm=0.06))
    assert info.ready
    assert info.warm_difference_nats == pytest.approx(0.06)
    [advice] = info.advice
    assert "0.06 nats" in advice
    assert KINDS["vllm"].of_kind.remedies.differing_calls in advice


@pytest.mark.parametrize(
    ("defect", "field"), [("shift_warm", "warm_difference_nats"), ("shift_in_company", "repeat_difference_nats")]
)
async def test_differences_beyond_rounding_are_a_problem(defect: str, field: str) -> None:
    info = await probed(twin("sglang", **{defect: 0.3}))
    assert not info.ready
    assert getattr(info, field) == pytest.approx(0.3)
    [problem] = info.problems
    assert "0.3 nats" in problem
    assert "--enable-deterministic-inference" in problem


async def test_rounding_of_single_precision_gets_no_advice() -> None:
    assert (await probed(twin("vllm", shift_warm=1e-6, shift_in_company=1e-6))).advice == ()


async def test_of_shifted_answers_differences_between_labels_count() -> None:
    info = await probed(twin("tgi", relative=True, shift_in_company=5.0))
    assert (info.ready, info.repeat_difference_nats, info.warm_difference_nats) == (True, 0.0, None)
    assert any("against each other" in advice for advice in info.advice)


async def test_shifted_answers_are_a_problem_for_labels_that_several_tokens_decide() -> None:
    [problem] = (await probed(twin("tgi", relative=True), "New York", "New Delhi")).problems
    assert "--max-top-n-tokens" in problem


async def test_a_log_probability_that_is_no_number_is_as_none() -> None:
    info = await probed(twin("vllm", unreachable=frozenset({" False"}), unreachable_value=-math.inf), "True", "False")
    assert ["' False'" in problem for problem in info.problems] == [True]


async def test_a_server_that_names_no_token_is_refused() -> None:
    info = await probed(twin("vllm", silent=True))
    assert not info.ready
    assert "names no token" in info.problems[-1]


async def test_a_label_that_is_merged_with_the_text_before_it_is_a_problem() -> None:
    info = await probed(twin("vllm", merges=" is True"), "True", "False")
    [problem] = info.problems
    assert "'True'" in problem
    assert "merges it with the text before it" in problem


async def test_a_label_that_is_merged_behind_some_prompts_is_advice_that_names_them() -> None:
    info = await probed(twin("vllm", merges=" is: True"), "True", "False")
    assert (info.ready, info.tokenizer_agrees) == (True, False)
    [advice] = info.advice
    assert "':'" in advice


async def test_a_tokenizer_that_puts_a_space_before_texts_is_noticed() -> None:
    info = await probed(twin("vllm", space_before_texts=True), "True", "False")
    assert (info.ready, info.tokenizer_agrees) == (True, False)
    assert any("separator" in advice for advice in info.advice)


async def test_labels_of_the_same_tokens_are_a_problem() -> None:
    assert "same tokens" in (await probed(twin("vllm"), "True", "True")).problems[0]


async def test_the_problem_of_a_hidden_context_says_how_to_report_it() -> None:
    wire = twin("vllm", server_facts=replace(FACTS, context_tokens=None))
    [problem] = (await probed(wire)).problems
    assert "--max-model-len" in problem
    assert wire.asked == []


async def test_problems_that_the_server_reports_are_passed_on() -> None:
    info = await probed(twin("vllm", server_facts=replace(FACTS, problems=("no such model",), advice=("use another",))))
    assert (info.ready, info.problems, info.advice) == (False, ("no such model",), ("use another",))


@pytest.mark.parametrize("method", ["facts", "encode", "next_token"])
async def test_a_server_that_is_away_is_not_reachable(method: str) -> None:
    def fail(name: str) -> BackendError | None:
        return BackendUnavailable("gone", kind=FailureKind.DISCONNECTED) if name == method else None

    wire = twin("vllm", fail=fail)
    info = await Examiner("default", wire, _Impatient(concurrency=8))()
    assert (info.ready, info.reachable, info.problems) == (False, False, ("gone",))


@pytest.mark.parametrize("method", ["facts", "encode", "next_token"])
async def test_a_refusal_is_a_problem_of_a_server_that_answers(method: str) -> None:
    wire = twin("vllm", fail=lambda name: BackendRefused("no") if name == method else None)
    info = await probed(wire)
    assert (info.ready, info.reachable, info.problems) == (False, True, ("no",))


async def test_the_prefix_cache_is_examined_once_for_a_server() -> None:
    wire = twin("vllm")
    probe = examiner_of(wire)
    first = await probe()
    asked = len(wire.asked)
    assert await probe() == first
    assert asked - 2 * len(LENGTHS_TOKENS) == len(wire.asked) - asked


async def test_a_server_that_has_changed_is_examined_anew() -> None:
    wire = twin("vllm")
    probe = examiner_of(wire)
    await probe()
    wire.server_facts, wire.block = replace(FACTS, revision="def"), 32
    assert (await probe()).cache_block_tokens == 32


async def test_an_interrupted_cache_trial_resumes() -> None:
    longest = LENGTHS_TOKENS[-1]
    wire = twin("vllm")
    probe = Examiner("default", wire, _Impatient(concurrency=8))

    def busy(name: str) -> BackendError | None:
        tokens = [len(prompt.token_ids or ()) for prompt, _ in wire.asked]
        return BackendUnavailable("busy") if name == "encode" and LENGTHS_TOKENS[0] in tokens else None

    wire.fail = busy
    info = await probe()
    assert (info.ready, info.prefix_cache, info.cache_block_tokens) == (True, True, None)
    wire.fail = lambda _: None
    info = await probe()
    assert (info.ready, info.cache_block_tokens) == (True, 16)
    tokens = [len(prompt.token_ids or ()) for prompt, _ in wire.asked]
    assert [tokens.count(length) for length in LENGTHS_TOKENS] == [2] * len(LENGTHS_TOKENS)
    assert max(tokens) == longest


async def test_prompts_of_the_cache_trial_fit_a_small_context() -> None:
    wire = twin("vllm", server_facts=replace(FACTS, context_tokens=160))
    info = await probed(wire)
    assert (info.ready, info.prefix_cache, info.cache_block_tokens) == (True, True, 16)
    assert max(len(prompt.token_ids or ()) for prompt, _ in wire.asked) <= 160


@pytest.mark.parametrize(("configured", "found", "answers"), [("vllm", "sglang", True), ("tgi", "vllm", False)])
async def test_a_server_of_another_kind_is_named_with_the_setting_to_change(
    configured: str, found: str, answers: bool
) -> None:
    async def detect() -> Kind | None:
        return KINDS[found].of_kind

    wire = twin(configured, fail=lambda _: None if answers else BackendRefused("404"))
    info = await examiner_of(wire, detect)()
    [problem] = info.problems
    assert (info.ready, info.reachable) == (False, True)
    assert f"`kind` to {found!r}" in problem
    assert wire.asked == []


@pytest.mark.parametrize(("configured", "found"), [("vllm", None), ("vllm", "vllm"), ("vllm", "embedded")])
async def test_a_server_of_the_right_or_an_unknown_kind_is_tried(configured: str, found: str | None) -> None:
    looked = 0

    async def detect() -> Kind | None:
        nonlocal looked
        looked += 1
        return KINDS[found].of_kind if found else None

    probe = examiner_of(twin(configured), detect)
    assert (await probe()).ready
    assert (await probe()).ready
    assert looked == 1


async def test_the_embedded_server_by_the_tgi_wire_is_ready_with_advice_to_use_its_own() -> None:
    async def detect() -> Kind | None:
        return embedded.KIND

    info = await examiner_of(twin("tgi"), detect)()
    assert info.ready
    assert "'embedded'" in info.advice[0]


async def test_a_kind_is_not_looked_for_where_nothing_answers() -> None:
    async def detect() -> Kind | None:
        raise AssertionError

    wire = twin("vllm", fail=lambda _: BackendUnavailable("gone", kind=FailureKind.DISCONNECTED))
    assert not (await examiner_of(wire, detect)()).reachable


class _Impatient(CallExecutor):
    """Retries that make one attempt."""

    async def call(self, attempt, *, measured=True, control=None):  # type: ignore[no-untyped-def]  # as the method it stands for
        return await attempt()
