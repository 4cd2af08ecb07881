"""Prompts of a tree get the ids of their whole text, though each segment is tokenised once."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from inference.errors import InvalidRequest
from inference.model.tokenization import PromptTokenizer
from inference.tree_prompts import Segment, Tree, TreeQuery, tokenise
from tests.inference.trees import own_spellings, prompts_of, trees
from tests.long import examples
from tests.support.inference.tiny import train_tokenizer


def merging() -> PreTrainedTokenizerBase:
    """A tokenizer that merges across lines, so that no text may be cut; it has no token for most characters."""
    merges = [("\n", "A"), (" ", "T"), ("I", "\n")]
    vocabulary = ["\n", "A", " ", "T", "I", "F", "e", "\nA", " T", "I\n"]
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("|", "isolated")
    made: PreTrainedTokenizerBase = PreTrainedTokenizerFast(tokenizer_object=tokenizer)  # type: ignore[no-untyped-call]  # as transformers has it
    return made


@pytest.fixture(scope="module", params=[train_tokenizer, merging])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    made: PreTrainedTokenizerBase = request.param()
    return made


@pytest.fixture(scope="module")
def prompts(tokenizer: PreTrainedTokenizerBase) -> PromptTokenizer:
    return PromptTokenizer(tokenizer)


def test_both_ways_to_tokenise_a_tree_are_tested() -> None:
    assert [PromptTokenizer(make()).by_line for make in (train_tokenizer, merging)] == [True, False]


@settings(max_examples=examples(150), deadline=None)
@given(tree=trees(("T", "Fe", "T\nAe")))
def test_ids_are_those_of_the_whole_text_and_of_the_label_behind_it(
    tree: Tree, tokenizer: PreTrainedTokenizerBase, prompts: PromptTokenizer
) -> None:
    for query, text in zip(tokenise(prompts, tree), prompts_of(tree), strict=True):
        expected = tokenizer.encode(text)
        assert query.prompt().tolist() == expected
        assert query.length == len(expected)
        assert [[*expected, *label] for label in query.labels] == [
            tokenizer.encode(text + spelling.text) for spelling in tree.spellings
        ]


def test_a_label_merged_with_the_text_before_it_is_named() -> None:
    vocabulary = {"a": 0, " ": 1, "b": 2, "c": 3, "a ": 4}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", " ")]))
    prompts = PromptTokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer))  # type: ignore[no-untyped-call]  # as transformers has it
    assert len(tokenise(prompts, Tree([Segment(None, "")], [TreeQuery(0, "c")], own_spellings(["b"])))) == 1
    with pytest.raises(InvalidRequest, match="merges the label 'b' with the text before it, of query 1"):
        tokenise(prompts, Tree([Segment(None, "c")], [TreeQuery(0, "c"), TreeQuery(0, "a")], own_spellings(["b"])))


def test_a_tokenizer_that_ends_every_text_leaves_no_room_for_labels() -> None:
    ending = train_tokenizer()
    ending.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    with pytest.raises(InvalidRequest, match="label 'True'"):
        tokenise(PromptTokenizer(ending), Tree([Segment(None, "")], [TreeQuery(0, "I")], own_spellings(["True"])))


def test_labels_that_are_the_same_tokens_are_named() -> None:
    tree = Tree([Segment(None, "")], [TreeQuery(0, "I")], own_spellings(["True", "True"]))
    with pytest.raises(InvalidRequest, match="the labels 'True' and 'True' are the same tokens"):
        tokenise(PromptTokenizer(train_tokenizer()), tree)


def test_each_line_is_tokenised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = PromptTokenizer(train_tokenizer())
    encoded, encode_all = list[str](), tokenizer.encode_all

    def spy(texts: Sequence[str], *, add_special_tokens: bool = True) -> list[list[int]]:
        encoded.extend(texts)
        return encode_all(texts, add_special_tokens=add_special_tokens)

    monkeypatch.setattr(tokenizer, "encode_all", spy)
    segments = [Segment(None, "First\n"), *(Segment(place, "Next\n") for place in range(50))]
    tokenise(tokenizer, Tree(segments, [TreeQuery(place, "Claim") for place in range(51)], own_spellings(["True"])))
    assert sorted(encoded) == ["Claim", "Claim True", "First\n", "Next\n"]
