"""A label that is a prefix of another gets the token that ends it, whatever the tokenizer does at its end."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from inference.errors import InvalidRequest
from inference.label_tokens import Spelling
from inference.model.tokenization import PromptTokenizer
from inference.tree_prompts import Segment, Tree, TreeQuery, tokenise
from tests.inference.test_tree_prompts import merging
from tests.inference.trees import own_spellings, prompts_of, trees
from tests.long import LONG
from tests.support.inference.tiny import train_tokenizer

WORDS = ["a", "b", "c", " ", ".", ";", "\n", "T", "7", '"', ".\n", " T", " 7", ' "', ";T", ";7"]
MERGES = [(".", "\n"), (" ", "T"), (" ", "7"), (" ", '"'), (";", "T"), (";", "7")]


def characters() -> PreTrainedTokenizerBase:
    """Tokens are characters, but for a full stop with a line break, and a space or semicolon with what follows."""
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(WORDS)}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("|", "isolated")
    made: PreTrainedTokenizerBase = PreTrainedTokenizerFast(tokenizer_object=tokenizer)  # type: ignore[no-untyped-call]  # as transformers has it
    return made


def found(labels: list[str], separator: str, *others: Spelling) -> dict[str, int]:
    """The labels by the text of their tokens behind the prompt "a"."""
    tree = Tree([Segment(None, "")], [TreeQuery(0, "a")], [*own_spellings(labels), *others], separator)
    [query] = tokenise(PromptTokenizer(characters()), tree)
    return {"|".join(WORDS[token] for token in ids): label for ids, label in query.labels.items()}


@pytest.mark.parametrize("make", [train_tokenizer, merging])
@settings(max_examples=40 if LONG else 15, deadline=None)
@given(tree=trees(("T", "TF", "Fe")))
def test_the_token_behind_a_label_in_a_demonstration_ends_it(
    tree: Tree, make: Callable[[], PreTrainedTokenizerBase]
) -> None:
    tokenizer = make()
    ended = tokenise(PromptTokenizer(tokenizer), replace(tree, separator="\n\n"))
    for query, text in zip(ended, prompts_of(tree), strict=True):
        prompt, short, *others = (tokenizer.encode(text + label) for label in ("", " T", " TF", " Fe"))
        end = tokenizer.encode(f"{text} T\n\nTe")[len(short)]
        assert [[*prompt, *ids] for ids in query.labels] == [[*short, end], *others]
        assert list(query.labels.values()) == [0, 1, 2]


def test_without_a_separator_no_label_is_ended() -> None:
    assert found(["b", "bc"], "") == {" |b": 0, " |b|c": 1}


def test_a_label_whose_end_merges_with_the_separator_is_ended_by_the_merged_token() -> None:
    assert found(["b.", "b.c"], "\n") == {" |b|.\n": 0, " |b|.|c": 1}


def test_a_separator_is_read_until_it_reads_unlike_every_label() -> None:
    assert found(["b", "bcc"], "cb") == {" |b|c|b": 0, " |b|c|c": 1}


@pytest.mark.parametrize(
    ("longer", "separator"), [("b.", " "), ("b;b", ";"), ("bc", "c")], ids=["merges", "merges-like-it", "reads-like-it"]
)
def test_a_separator_that_ends_no_label_is_refused_by_name(longer: str, separator: str) -> None:
    with pytest.raises(InvalidRequest, match=f"the label 'b', and no token of the separator '{separator}' ends it"):
        found(["b", longer], separator)


def test_another_spelling_is_ended_too_and_left_out_where_it_cannot_be() -> None:
    assert found(["a", "bc"], "\n", Spelling(0, " b")) == {" |a": 0, " |b|c": 1, " |b|\n": 0}
    assert found(["a", "bc"], " ", Spelling(0, " b")) == {" |a": 0, " |b|c": 1}
