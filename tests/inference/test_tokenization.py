"""Prompts become the ids that the tokenizer gives for the whole text, however they are cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from inference.model.tokenization import PromptTokenizer
from tests.long import examples
from tests.support.inference.tiny import LINES, train_tokenizer

texts = st.text(st.sampled_from("aT 1\n\r\t.é<s>'"), max_size=40)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer()


@pytest.fixture(scope="module")
def prompts(tokenizer: PreTrainedTokenizerBase) -> PromptTokenizer:
    return PromptTokenizer(tokenizer)


@settings(max_examples=examples(300), deadline=None)
@given(text=texts)
def test_a_text_cut_into_lines_gives_the_ids_of_the_whole(
    text: str, tokenizer: PreTrainedTokenizerBase, prompts: PromptTokenizer
) -> None:
    assert prompts.by_line
    assert prompts.encode(text) == tokenizer.encode(text)
    assert prompts.encode(text, add_special_tokens=False) == tokenizer.encode(text, add_special_tokens=False)


def test_a_prompt_begins_with_bos_by_default(prompts: PromptTokenizer) -> None:
    assert prompts.encode(LINES[0])[0] == 0
    assert prompts.encode(LINES[0], add_special_tokens=False) == prompts.encode(LINES[0])[1:]


@pytest.mark.parametrize("by_line", [True, False])
def test_what_looks_like_a_special_token_is_text(by_line: bool, prompts: PromptTokenizer) -> None:
    special = set(prompts._tokenizer.all_special_ids)
    assert special
    for text in ("a <s> b", "</s>", "<s>\nThe <s></s>", *prompts._tokenizer.all_special_tokens):
        ways = [prompts.encode(text, add_special_tokens=False) if by_line else prompts.encode_all([text])[0][1:]]
        ways += [[piece.id for piece in prompts.pieces(text)[1:]]]
        for ids in ways:
            assert special.isdisjoint(ids)
            assert prompts._decode(ids) == text
        assert prompts.count_all([text]) == [len(ways[0])]


def _words(*vocabulary: str) -> Tokenizer:
    return Tokenizer(models.BPE({word: number for number, word in enumerate(vocabulary)}, []))


def _fast(tokenizer: Tokenizer) -> PreTrainedTokenizerBase:
    made: PreTrainedTokenizerBase = PreTrainedTokenizerFast(tokenizer_object=tokenizer)  # type: ignore[no-untyped-call]  # as transformers has it
    return made


def test_a_vocabulary_with_tokens_across_lines_is_tokenised_whole() -> None:
    merging = Tokenizer(models.BPE({"a": 0, "\n": 1, "\na": 2}, [("\n", "a")]))
    prompts = PromptTokenizer(_fast(merging))
    assert not prompts.by_line
    assert prompts.encode("a\na") == [0, 2]


def test_a_tokenizer_that_puts_a_space_before_a_text_is_tokenised_whole() -> None:
    prepending = _words("a", "\n", "▁")
    prepending.normalizer = normalizers.Prepend("▁")
    prepending.pre_tokenizer = pre_tokenizers.Split("|", "isolated")
    prompts = PromptTokenizer(_fast(prepending))
    assert not prompts.by_line
    assert prompts.encode("a\na") == [2, 0, 1, 0]


def test_pieces_have_the_offsets_of_tokens(prompts: PromptTokenizer) -> None:
    text = "Paris is é\n\nin"
    pieces = prompts.pieces(text)
    assert [piece.id for piece in pieces] == prompts.encode(text)
    assert (pieces[0].text, pieces[0].start, pieces[0].stop) == ("", 0, 0)
    assert all(piece.text == text[piece.start : piece.stop] for piece in pieces)


def test_a_continuation_keeps_its_leading_space(prompts: PromptTokenizer) -> None:
    label = prompts.encode(" True", add_special_tokens=False)
    assert prompts.continuation(prompts.encode("in France."), label) == " True"
    assert prompts.continuation(prompts.encode("in France."), [*label, 1]) == " True"
    assert prompts.continuation([0], [1], skip_special=False) == "</s>"
