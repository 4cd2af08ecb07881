"""Every adapter over a fake server whose language model is known: the scores are the language model's own."""

import math
from collections.abc import Sequence

import pytest

from service.errors import BackendRefused
from service.identifiers import Row
from service.ports.scoring import Scorer
from service.search.predictions.prompt_tree import PromptTree, Query, TreeScores
from tests.servers.adapters import ALL_TOKENS, MAX_TOP_TOKENS, fake_of, rig_of
from tests.servers.asking import KINDS
from tests.servers.fake import FakeServer
from tests.servers.language_model import ToyLanguageModel, ToyTokenizer
from tests.servers.llamacpp import FakeLlamaCpp
from tests.servers.sglang import FakeSglang
from tests.servers.tgi import FakeTgi
from tests.servers.truth import own_scores
from tests.servers.vllm import FakeVllm

LABELS = ("True", "False")
SHARED = "Paris is in France. True\n\nRome is in Spain. False\n\n"
QUERIES = tuple(Query(Row(number), f"Lima is {number} in Peru.") for number in range(8))
TREE = PromptTree(SHARED, QUERIES, (PromptTree("Oslo is in Italy. True\n\n", (Query(Row(50), "Rome is in Italy."),)),))
ODD_TEXTS = PromptTree(
    "Zürich — größer als Köln? True\n\n東京 </s> is <s> one. False\n\n",
    (Query(Row(0), "Málaga 🙂 is"), Query(Row(1), "tab\there"), Query(Row(2), "ends so: “")),
)
FEW = PromptTree(SHARED, QUERIES[:2], TREE.children)
SMALL = PromptTree(SHARED, QUERIES[:2])  # for labels that take several calls a query


def naming_all(kind: str) -> FakeServer:
    """A server that names every token of the vocabulary, however improbable."""
    return FakeTgi(max_top_n_tokens=ALL_TOKENS) if kind == "tgi" else fake_of(kind)


kinds = pytest.mark.parametrize("kind", KINDS)
ids_and_text = pytest.mark.parametrize("kind", ["vllm", "tgi"])  # the forms in which prompts travel


def assert_scores(found: TreeScores, expected: dict[Row, list[float]]) -> None:
    assert dict(found.log_probabilities) == {row: pytest.approx(values, abs=1e-5) for row, values in expected.items()}


def tree_for(server: FakeServer) -> PromptTree:
    """SGLang takes eight queries behind one beginning in one call; the others take them one by one."""
    return TREE if server.kind == "sglang" else FEW


async def scored(
    server: FakeServer,
    tree: PromptTree | None = None,
    labels: Sequence[str] = LABELS,
    *,
    all_spellings: bool = False,
    separator: str = "",
) -> TreeScores:
    max_top_tokens = server.max_top_n_tokens if isinstance(server, FakeTgi) else MAX_TOP_TOKENS
    async with rig_of(server.kind, server, max_top_tokens=max_top_tokens) as rig:
        return await rig.scorer.score(
            tree or tree_for(server), labels, all_spellings=all_spellings, separator=separator
        )


@kinds
async def test_scores_are_the_language_models_own(kind: str) -> None:
    server = fake_of(kind)
    assert_scores(await scored(server, TREE), own_scores(server.model, TREE, LABELS))


@kinds
async def test_labels_of_several_tokens_follow_the_chain_rule(kind: str) -> None:
    server = naming_all(kind)
    server.model = ToyLanguageModel(ToyTokenizer(split=("True", " True", "False", " False")))
    labels = (*LABELS, "Truest", "no idea")
    assert_scores(await scored(server, SMALL, labels), own_scores(server.model, SMALL, labels))


@kinds
async def test_all_spellings_of_a_label_are_summed(kind: str) -> None:
    server = naming_all(kind)
    expected = own_scores(server.model, tree_for(server), LABELS, all_spellings=True)
    assert_scores(await scored(server, all_spellings=True), expected)


@pytest.mark.parametrize(
    ("kind", "separator", "all_spellings"),
    [
        *(pytest.param(kind, "\n\n", True, marks=[pytest.mark.long] if kind == "tgi" else []) for kind in KINDS),
        pytest.param("vllm", ";\n", False, marks=pytest.mark.long),
        pytest.param("vllm", "\n\n###\n\n", True, marks=pytest.mark.long),
    ],
)
async def test_labels_that_others_begin_with_are_scored_with_their_end(
    kind: str, separator: str, all_spellings: bool
) -> None:
    server = naming_all(kind)
    labels = ("1", "10", "yes", "yes and no", "1000")
    tree = PromptTree(SHARED, QUERIES[:1])
    found = await scored(server, tree, labels, all_spellings=all_spellings, separator=separator)
    expected = own_scores(server.model, tree, labels, all_spellings=all_spellings, separator=separator)
    assert_scores(found, expected)


@ids_and_text
async def test_a_label_whose_end_merges_with_the_separator_is_scored_as_demonstrations_have_it(kind: str) -> None:
    server = naming_all(kind)
    server.model = ToyLanguageModel(ToyTokenizer(glued=(".\n\n",)))
    found = (await scored(server, SMALL, ("no.", "no.1"), separator="\n\n")).log_probabilities
    for row, prompt in SMALL.prompts():
        before, whole = (server.model.tokenizer.ids(text, special=True) for text in (prompt, f"{prompt} no.\n\nLima"))
        assert server.model.tokenizer.text_of(whole[len(before) + 1]) == ".\n\n"
        steps = (server.model.log_probabilities(whole[:end])[whole[end]] for end in range(len(before), len(before) + 2))
        assert found[row][0] == pytest.approx(sum(map(float, steps)), abs=1e-5)


@ids_and_text
async def test_a_separator_that_cannot_end_a_label_is_refused_by_name(kind: str) -> None:
    with pytest.raises(BackendRefused, match=r"the label '1' .* the separator ' '.* take another separator"):
        await scored(naming_all(kind), SMALL, ("1", "10"), separator=" ")


@ids_and_text
async def test_a_separator_that_reads_like_a_longer_label_is_read_until_it_does_not(kind: str) -> None:
    server = naming_all(kind)
    found = (await scored(server, SMALL, ("yes", "yes and no"), separator=" and\n\n")).log_probabilities
    expected = own_scores(server.model, SMALL, ("yes and\n\n", "yes and no"))
    assert dict(found) == {row: pytest.approx(values, abs=1e-5) for row, values in expected.items()}
    with pytest.raises(BackendRefused, match="reads as another label begins"):
        await scored(server, SMALL, ("yes", "yes;no"), separator=";")


@kinds
async def test_a_tokenizer_that_merges_a_separator_with_the_next_word_changes_no_score(kind: str) -> None:
    server = fake_of(kind)
    server.model = ToyLanguageModel(ToyTokenizer(glued=("\n\nL", "\n\nOslo", ".\n\n", " True\n\n")))
    assert_scores(await scored(server), own_scores(server.model, tree_for(server), LABELS))


@ids_and_text
async def test_a_label_that_merges_with_the_prompt_is_refused(kind: str) -> None:
    server = fake_of(kind)
    server.model = ToyLanguageModel(ToyTokenizer(glued=(". True",)))
    with pytest.raises(BackendRefused, match="merges"):
        await scored(server)


@kinds
@pytest.mark.parametrize("glued", [(), ("\n\nThe", "True\n\n")], ids=["as ids of parts", "as whole texts"])
async def test_letters_beyond_ascii_are_scored_and_lookalikes_of_special_tokens_are_text(
    kind: str, glued: tuple[str, ...]
) -> None:
    server = fake_of(kind)
    server.model = ToyLanguageModel(ToyTokenizer(glued=glued))
    parses = kind == "tgi"  # which takes text alone, and cannot be asked not to
    assert_scores(await scored(server, ODD_TEXTS), own_scores(server.model, ODD_TEXTS, LABELS, parses=parses))


@kinds
async def test_labels_of_several_tokens_are_scored_behind_letters_beyond_ascii(kind: str) -> None:
    server = naming_all(kind)
    tree = PromptTree("", (Query(Row(0), "er sagt “größer”"), Query(Row(1), "ends so: “"), Query(Row(2), "é: ")))
    labels = ("Truest", "no idea")
    assert_scores(await scored(server, tree, labels), own_scores(server.model, tree, labels))


@kinds
async def test_labels_beyond_ascii_are_scored(kind: str) -> None:
    server = fake_of(kind)
    labels = ("größer", "kleiner", "東")
    async with rig_of(kind, server) as rig:
        try:
            found = await rig.scorer.score(SMALL, labels)
        except BackendRefused:  # text cannot end within a character, so that a server that takes text alone is no use
            assert kind == "tgi"
        else:
            assert_scores(found, own_scores(server.model, SMALL, labels))


@kinds
async def test_a_tokenizer_without_a_beginning_token_is_scored_without_one(kind: str) -> None:
    server = fake_of(kind)
    server.model = ToyLanguageModel(ToyTokenizer(begins=False))
    assert_scores(await scored(server), own_scores(server.model, tree_for(server), LABELS))


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.long] if kind == "sglang" else []) for kind in KINDS]
)
async def test_as_many_labels_as_a_task_may_have_are_scored(kind: str) -> None:
    server = naming_all(kind)
    labels = tuple(f"{first}{second}" for first in "abcdefgh" for second in "klmnopqr")
    one = PromptTree("", QUERIES[:1])
    assert_scores(await scored(server, one, labels), own_scores(server.model, one, labels))


@kinds
async def test_the_tokens_computed_are_those_the_server_computed(kind: str) -> None:
    server = fake_of(kind)
    tree = PromptTree(SHARED * 20, QUERIES)
    async with rig_of(kind, server) as rig:
        usage = (await rig.scorer.score(tree, LABELS)).usage
    assert usage.modelled is (kind == "tgi" or len(server.scored) < len(QUERIES))
    if usage.modelled:
        assert usage.tokens_computed == pytest.approx(server.tokens_computed, rel=0.2)
    else:
        assert usage.tokens_computed == server.tokens_computed
    assert server.tokens_computed < 0.2 * usage.tokens_sent


@kinds
async def test_a_prompt_that_is_too_long_is_refused_in_the_servers_words(kind: str) -> None:
    with pytest.raises(BackendRefused, match="4096"):
        await scored(fake_of(kind), PromptTree(SHARED * 400, QUERIES))


@kinds
async def test_what_a_server_can_read_at_once_is_found_and_can_be_used(kind: str) -> None:
    server = fake_of(kind)
    async with rig_of(kind, server) as rig:
        limit = (await rig.scorer.probe(LABELS)).context_tokens
        assert limit is not None
        room = limit - len(server.model.tokenizer.ids(".", special=True))
        assert len((await _score_one(rig.scorer, " is" * room + ".")).log_probabilities) == 1
        with pytest.raises(BackendRefused):
            await _score_one(rig.scorer, " is" * (room + 10) + ".")


async def _score_one(scorer: Scorer, text: str) -> TreeScores:
    return await scorer.score(PromptTree("", (Query(Row(0), text),)), LABELS)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FakeVllm(names_chosen_tokens=False),
        lambda: FakeVllm(names_chosen_tokens=False, max_logprobs=5),
        lambda: FakeVllm(tells_cached_tokens=False),
        lambda: FakeVllm(runs_together=True),
        lambda: FakeSglang(scores_with_logprobs=False),
        lambda: FakeSglang(radix_cache=False),
        lambda: FakeSglang(page_size=64),
        lambda: FakeLlamaCpp(probabilities_key="probs"),
        lambda: FakeLlamaCpp(slots=1),
        lambda: FakeTgi(max_top_n_tokens=5),
        lambda: FakeTgi(max_top_n_tokens=200, offsets_in_bytes=False),
    ],
    ids=[
        "vllm before chosen tokens",
        "vllm before chosen tokens, of few alternatives",
        "vllm that tells no cached tokens",
        "vllm whose texts run together",
        "sglang whose items have no logprobs",
        "sglang without a cache",
        "sglang of large pages",
        "llamacpp by its readme",
        "llamacpp of one slot",
        "tgi of few alternatives",
        "tgi that counts characters",
    ],
)
async def test_other_releases_and_flags_give_the_same_differences(make: object) -> None:
    assert callable(make)
    server: FakeServer = make()
    found = (await scored(server)).log_probabilities
    for row, (true, false) in own_scores(server.model, tree_for(server), LABELS).items():
        assert found[row][0] - found[row][1] == pytest.approx(true - false, abs=1e-5)


async def test_tgi_of_few_alternatives_reaches_improbable_labels_by_a_grammar() -> None:
    server = FakeTgi(max_top_n_tokens=5)
    labels = ("green", "one")
    found = (await scored(server, labels=labels)).log_probabilities
    for row, (green, one) in own_scores(server.model, tree_for(server), labels).items():
        assert found[row][0] - found[row][1] == pytest.approx(green - one, abs=1e-5)


async def test_an_sglang_that_cuts_prompts_is_refused() -> None:
    server = FakeSglang(cuts_prompts=True, context_len=12)
    with pytest.raises(BackendRefused, match="must not cut prompts"):
        await scored(server)


def test_the_scores_of_the_language_model_sum_to_at_most_one() -> None:
    for values in own_scores(ToyLanguageModel(ToyTokenizer()), TREE, LABELS, all_spellings=True).values():
        assert sum(map(math.exp, values)) <= 1 + 1e-9
