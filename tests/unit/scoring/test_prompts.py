"""Scoring over any wire, tested with an in-memory one."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BackendRefused, LabelUnreachable
from service.identifiers import Row
from service.scoring.calls.executor import CallExecutor
from service.scoring.probing.identity import CANARY_PROMPTS, Recognition
from service.scoring.prompts import PromptScorer
from service.scoring.wires.wire import Prompt
from service.search.predictions.prompt_tree import PromptTree, Query, TreeScores
from tests.long import examples
from tests.support.inference.tiny import until
from tests.unit.scoring.toy_trees import chained, halves, trees
from tests.unit.scoring.toy_wire import BEGINNING, ToyManyWire, ToyWire

LABELS = ("True", "False", "Truest")
SPLITS = {" True": [" Tr", "ue"], " Truest": [" Tr", "ue", "st"], " FALSE": [" FA", "LSE"]}
FLAT = PromptTree("Paris is in France, not in Italy.\n\n", tuple(Query(Row(row), f"Q{row} is it") for row in range(12)))


def scorer_of(wire: ToyWire, *, concurrency: int = 8, worth_characters: int = 0) -> PromptScorer:
    still = CallExecutor(concurrency=concurrency, clock=lambda: 0.0)  # a busy machine would lower the limit of calls
    return PromptScorer("toy", wire, still, worth_characters=worth_characters)


def scored(
    wire: ToyWire, tree: PromptTree, labels: Sequence[str] = LABELS, *, all_spellings: bool = False, worth: int = 0
) -> TreeScores:
    return asyncio.run(scorer_of(wire, worth_characters=worth).score(tree, labels, all_spellings=all_spellings))


@settings(max_examples=examples(60), deadline=None)
@given(tree=trees(), takes_ids=st.booleans(), all_spellings=st.booleans(), merges=st.sampled_from([(), ("\n\nN1",)]))
def test_a_tree_scores_as_its_prompts_do_by_themselves(
    tree: PromptTree, takes_ids: bool, all_spellings: bool, merges: Sequence[str]
) -> None:
    def wire() -> ToyWire:
        return ToyWire(takes_token_ids=takes_ids, splits=SPLITS, merges=merges)

    found = scored(wire(), tree, all_spellings=all_spellings).log_probabilities
    alone = {
        row: scored(wire(), PromptTree(prompt, (Query(row, ""),)), all_spellings=all_spellings).log_probabilities[row]
        for row, prompt in tree.prompts()
    }
    assert list(found) == list(alone)
    if not merges:  # else a path that is not the longest may be encoded part by part: other tokens of the same text
        assert found == alone


@settings(max_examples=examples(60), deadline=None)
@given(tree=trees(), counts=st.booleans())
def test_token_ids_and_text_give_the_same_scores_at_the_same_cost(tree: PromptTree, counts: bool) -> None:
    ids, text = (
        scored(ToyWire(takes_token_ids=takes_ids, splits=SPLITS, counts=counts), tree) for takes_ids in (True, False)
    )
    assert ids == text


@settings(max_examples=examples(60), deadline=None)
@given(tree=trees(), concurrency=st.integers(1, 8))
def test_with_warm_up_no_token_is_computed_twice_though_a_prefix_is_kept_only_at_the_end(
    tree: PromptTree, concurrency: int
) -> None:
    wire, ideal = ToyWire(), ToyWire(counts=False)
    found = asyncio.run(scorer_of(wire, concurrency=concurrency).score(tree, ("True", "False"))).usage
    modelled = scored(ideal, tree, ("True", "False")).usage
    distinct = {p[:end] for p in map(ids_of, wire.prompts) for end in range(1, len(p) + 1)}
    assert wire.computed == len(distinct)
    assert found.tokens_sent == modelled.tokens_sent
    assert found.tokens_computed == len(distinct) <= modelled.tokens_computed


def ids_of(prompt: Prompt) -> tuple[int, ...]:
    assert prompt.token_ids is not None
    return prompt.token_ids


def test_without_warm_up_shared_prefixes_are_computed_again_and_again() -> None:
    tree = halves(range(16))
    warm, cold = ToyWire(), ToyWire()
    scored(warm, tree)
    scored(cold, tree, worth=10**9)
    assert cold.computed > 2 * warm.computed


@pytest.mark.parametrize("tree", [halves(range(16)), chained(16), FLAT], ids=["halves", "chained", "flat"])
def test_the_usage_is_that_of_an_ideal_cache(tree: PromptTree) -> None:
    measured, modelled = (scored(ToyWire(counts=counts), tree, ("True", "False")).usage for counts in (True, False))
    assert (measured.modelled, modelled.modelled) == (False, True)
    assert (measured.prompts, measured.tokens_sent) == (modelled.prompts, modelled.tokens_sent)
    assert measured.tokens_computed == modelled.tokens_computed


def test_every_beginning_that_labels_share_is_a_call_and_costs_its_tokens() -> None:
    measured, modelled = (scored(ToyWire(splits=SPLITS, counts=counts), FLAT).usage for counts in (True, False))
    one, (beginning, query) = scored(ToyWire(), FLAT, ("True", "False")).usage, (12, 3)
    assert measured.prompts == modelled.prompts == 3 * 12  # behind the prompt, ` Tr` and ` True`
    assert measured.tokens_sent == modelled.tokens_sent == 3 * one.tokens_sent + 12 * (1 + 2)
    assert modelled.tokens_computed == beginning + 12 * (query + 1 + 1)
    assert modelled.tokens_computed <= measured.tokens_computed <= modelled.tokens_computed + 12


def test_requests_that_had_to_be_made_again_are_counted() -> None:
    once, thrice = (scored(ToyWire(counts=False, requests=n), FLAT).usage for n in (1, 3))
    assert (thrice.prompts, thrice.tokens_sent) == (3 * once.prompts, 3 * once.tokens_sent)
    assert thrice.tokens_computed == once.tokens_computed


def test_a_missing_label_is_never_a_number() -> None:
    with pytest.raises(LabelUnreachable, match=r"' False' after .*Q0 is it"):
        scored(ToyWire(unreachable=frozenset({" False"})), PromptTree("", (Query(Row(0), "Q0 is it"),)))


def test_an_error_names_its_row() -> None:
    with pytest.raises(LabelUnreachable) as raised:
        scored(ToyWire(unreachable=frozenset({" False"})), PromptTree("", (Query(Row(7), "Q7 is it"),)))
    assert (raised.value.row, raised.value.answered) == (7, {})


def test_every_spelling_must_have_a_score() -> None:
    wire = ToyWire(unreachable=frozenset({" FALSE"}))
    assert len(scored(wire, FLAT).log_probabilities) == 12
    with pytest.raises(LabelUnreachable, match="' FALSE'"):
        scored(wire, FLAT, all_spellings=True)


def test_differences_are_enough_where_one_call_decides_and_only_there() -> None:
    found = scored(ToyWire(relative=True), FLAT, ("True", "False"))
    assert found.log_probabilities == scored(ToyWire(), FLAT, ("True", "False")).log_probabilities
    with pytest.raises(LabelUnreachable, match="only differences"):
        scored(ToyWire(relative=True, splits=SPLITS), FLAT, ("True", "False"))


def test_a_tree_without_queries_makes_no_call() -> None:
    wire = ToyWire()
    assert scored(wire, PromptTree("text", (), (PromptTree("more"),))) == TreeScores({})
    assert (wire.prompts, wire.encoded) == ([], [])


def test_ids_begin_with_the_special_tokens_of_a_prompt() -> None:
    wire = ToyWire()
    scored(wire, FLAT)
    assert all(ids_of(prompt)[0] == BEGINNING and BEGINNING not in ids_of(prompt)[1:] for prompt in wire.prompts)


def test_each_text_is_encoded_once() -> None:
    wire = ToyWire()

    async def score_twice() -> None:
        scorer = scorer_of(wire)
        await scorer.score(FLAT, LABELS)
        await scorer.score(FLAT, LABELS)
        assert await scorer.count_tokens([FLAT.text, "", FLAT.text]) == [11, 0, 11]

    asyncio.run(score_twice())
    texts = [FLAT.text, *(query.text for query in FLAT.queries)]
    assert all(wire.encoded.count(text) == 1 for text in texts)


@pytest.mark.parametrize(
    "wire",
    [ToyWire(merges=["\n\nQ0"]), ToyWire(first="_")],
    ids=["merges", "dummy_prefix"],
)
def test_a_tree_travels_as_text_where_its_texts_have_other_tokens_by_themselves(wire: ToyWire) -> None:
    tree = PromptTree(FLAT.text, FLAT.queries[:1])
    found = scored(wire, tree)
    assert [prompt.token_ids for prompt in wire.prompts] == [None]
    assert [prompt.text for prompt in wire.prompts] == [tree.text + tree.queries[0].text]
    assert found.log_probabilities.keys() == {0}


def test_many_queries_behind_one_prefix_go_in_one_call_once_it_is_warm() -> None:
    wire, plain = ToyManyWire(), ToyWire()
    assert scored(wire, FLAT) == scored(plain, FLAT)
    assert (len(wire.prompts), [len(items) for _, items in wire.calls]) == (1, [11])
    beginning, items = wire.calls[0]
    assert {(*beginning, *item) for item in items} == {ids_of(prompt) for prompt in plain.prompts[1:]}


@pytest.mark.parametrize(
    "wire",
    [ToyManyWire(splits=SPLITS), ToyManyWire(takes_token_ids=False), ToyManyWire(first="_")],
    ids=["several_tokens", "text", "dummy_prefix"],
)
def test_queries_go_one_by_one_where_labels_or_prompts_do_not_allow_more(wire: ToyManyWire) -> None:
    assert len(scored(wire, FLAT).log_probabilities) == 12
    assert wire.calls == []


def test_few_queries_go_one_by_one() -> None:
    wire = ToyManyWire()
    scored(wire, PromptTree(FLAT.text, FLAT.queries[:8]))  # the first of them alone
    assert (wire.calls, len(wire.prompts)) == ([], 8)


async def test_a_cancelled_score_cancels_the_calls_under_way() -> None:
    wire = ToyWire(held=lambda prompt: True)
    task = asyncio.create_task(scorer_of(wire, concurrency=3, worth_characters=10**9).score(FLAT, LABELS))
    await until(lambda: wire.under_way == 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (wire.under_way, wire.cancelled) == (0, 3)


async def test_a_failure_cancels_its_siblings_and_comes_alone() -> None:
    wire = ToyWire(held=lambda prompt: "Q2" not in prompt.text, failure=BackendRefused("no"))
    with pytest.raises(BackendRefused, match=r"^no$"):
        await scorer_of(wire, concurrency=3, worth_characters=10**9).score(FLAT, LABELS)
    assert (wire.under_way, wire.cancelled >= 2) == (0, True)


async def test_prompts_under_way_are_as_many_as_the_driver_has_slots() -> None:
    wire = ToyWire()
    await scorer_of(wire, concurrency=3).score(halves(range(32)), LABELS)
    assert wire.most_under_way == 3


async def test_the_canary_is_measured_anew_once_it_is_old() -> None:
    now, measured = [0.0], list[float]()

    async def measure() -> tuple[float, ...]:
        measured.append(now[0])
        return (-1.0,)

    wire, executor = ToyWire(), CallExecutor(concurrency=2)
    recognition = Recognition("toy", executor, facts=wire.facts, canary=measure, clock=lambda: now[0])
    for now[0] in (0.0, 30.0, 59.0, 61.0, 100.0, 122.0):
        await recognition.identify()
    assert measured == [0.0, 61.0, 122.0]


async def test_the_canary_is_measured_anew_after_a_connection_broke() -> None:
    wire, executor = ToyWire(), CallExecutor(concurrency=2)
    scorer = PromptScorer("toy", wire, executor)
    first = await scorer.identify()
    wire.shift = -1.0
    assert await scorer.identify() == first
    executor.disconnections += 1
    changed = await scorer.identify()
    assert first.fingerprint == changed.fingerprint == "toy|toy|1|2"
    assert not first.agrees_with(changed)
    assert len(wire.prompts) == 2 * len(CANARY_PROMPTS)
