"""How labels and their spellings become tokens, by the toy tokenizer."""

import math
import re
from collections.abc import Sequence

import pytest

from service.errors import BackendRefused
from service.scoring.tokenization.labels import LabelTokens, find_label_tokens
from service.scoring.wires.wire import Token
from service.search.predictions.prompt_tree import ending
from service.values import spellings_of
from tests.unit.scoring.toy_wire import ToyWire, token_id


async def found(
    wire: ToyWire,
    labels: Sequence[str],
    behind: str = "",
    *,
    separator: str = "",
    all_spellings: bool = False,
    as_text: bool = False,
) -> LabelTokens:
    return await find_label_tokens(
        wire.encode, labels, behind, separator=separator, all_spellings=all_spellings, as_text=as_text
    )


def texts_of(tokens: LabelTokens) -> list[list[str]]:
    return [[path[-1].text for path in paths] for paths in tokens.paths]


def test_spellings_are_case_and_space() -> None:
    assert spellings_of("True") == [" True", " true", " TRUE", "True", "true", "TRUE"]
    assert spellings_of("not sure")[2] == " Not sure"
    assert spellings_of("7") == [" 7", "7"]


async def test_a_label_follows_one_space_in_its_own_spelling() -> None:
    assert texts_of(await found(ToyWire(), ["True", "no"])) == [[" True"], [" no"]]


async def test_calls_are_one_for_each_beginning_that_labels_share() -> None:
    splits = {" True": [" Tr", "ue"], " Truest": [" Tr", "ue", "st"]}
    tokens = await found(ToyWire(splits=splits), ["True", "Truest", "no"])
    calls = [(call.text, [token.text for token in call.wanted]) for call in tokens.calls]
    assert calls == [("", [" Tr", " no"]), (" Tr", [" True"]), (" True", [" Truest"])]
    assert tokens.calls[1].ids == (token_id(" Tr"),)
    assert tokens.calls[0].wanted_ids == [token_id(" Tr"), token_id(" no")]


async def test_a_label_is_the_sum_of_the_distinct_paths_of_its_spellings() -> None:
    tokens = await found(ToyWire(splits={" TRUE": [" TR", "UE"]}), ["True"], ".", all_spellings=True)
    assert texts_of(tokens) == [[" True", " true", " TRUE", "True", "true", "TRUE"]]
    known = {
        (): {
            token_id(text): math.log(p)
            for text, p in {" True": 0.3, " true": 0.2, " TR": 0.2, "True": 0.05, "true": 0.05, "TRUE": 0.1}.items()
        },
        (token_id(" TR"),): {token_id("UE"): math.log(0.5)},
    }
    assert tokens.log_probabilities(known) == pytest.approx((math.log(0.8),))


async def test_a_spelling_that_merges_with_the_text_before_it_is_left_out() -> None:
    assert texts_of(await found(ToyWire(), ["True"], all_spellings=True)) == [[" True", " true", " TRUE"]]


async def test_a_label_that_merges_with_the_text_before_it_is_refused() -> None:
    wire = ToyWire(merges=[" is True", ": False"])
    with pytest.raises(BackendRefused, match=r"'True'.* merges it with .*claim is'"):
        await found(wire, ["True", "False"])
    assert texts_of(await found(wire, ["True"], ".")) == [[" True"]]
    with pytest.raises(BackendRefused, match=r"'False'.*claim is:'.*let the template end differently"):
        await found(wire, ["False"], ":")


@pytest.mark.parametrize("labels", [("yes", "no"), ("yes", "yes")], ids=["other", "equal"])
async def test_labels_of_the_same_tokens_are_refused(labels: Sequence[str]) -> None:
    wire = ToyWire(splits={" yes": ["<unk>"], " no": ["<unk>"]})
    with pytest.raises(BackendRefused, match="same tokens"):
        await found(wire, labels)


async def test_a_spelling_of_two_labels_is_refused_by_its_name() -> None:
    assert len(texts_of(await found(ToyWire(), ["yes", "YES"]))) == 2
    with pytest.raises(BackendRefused, match="spelling ' YES' belongs to two labels, 'yes' and 'YES'"):
        await found(ToyWire(), ["yes", "YES"], all_spellings=True)


async def test_as_text_a_beginning_must_have_its_tokens_by_itself() -> None:
    wire = ToyWire(splits={" unsure": [" un", "sure"], " un": [" u", "n"], " maybe": [" may", "be"]})
    assert texts_of(await found(wire, ["unsure", "maybe"])) == [[" unsure"], [" maybe"]]
    assert texts_of(await found(wire, ["maybe"], as_text=True)) == [[" maybe"]]
    with pytest.raises(BackendRefused, match="'unsure' cannot be scored: as text, ' un' has other tokens"):
        await found(wire, ["unsure"], as_text=True)


async def test_as_text_several_tokens_must_have_ends() -> None:
    wire = ToyWire(splits={" maybe": [" may", "be"]}, ends=False)
    assert len((await found(wire, ["maybe"])).paths) == 1
    assert len((await found(wire, ["yes"], as_text=True)).paths) == 1
    with pytest.raises(BackendRefused, match="does not say where"):
        await found(wire, ["maybe"], as_text=True)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("I think this claim is", ""),
        ("Is it?\n", "?\n"),
        ("12", ""),
        ("...", "..."),
        ("", ""),
        ("a" + "." * 30, "." * 16),
    ],
)
def test_an_ending_has_the_characters_behind_the_last_letter_or_digit(prompt: str, expected: str) -> None:
    assert ending(prompt) == expected


TENS = {" 10": [" 1", "0"], " 100": [" 1", "0", "0"]}


@pytest.mark.parametrize("as_text", [False, True])
async def test_labels_that_others_begin_with_are_read_to_their_end_and_no_others(as_text: bool) -> None:
    tokens = await found(ToyWire(splits=TENS), ["1", "10", "100", "7"], separator="\n\n", as_text=as_text)
    assert texts_of(tokens) == [[" 1\n"], [" 10\n"], [" 100"], [" 7"]]
    calls = [(call.text, [token.text for token in call.wanted]) for call in tokens.calls]
    assert calls == [("", [" 1", " 7"]), (" 1", [" 1\n", " 10"]), (" 10", [" 10\n", " 100"])]


async def test_an_ended_label_and_a_longer_one_share_their_probability() -> None:
    tokens = await found(ToyWire(splits=TENS), ["1", "10"], separator=";")
    known = {(): {token_id(" 1"): math.log(0.9)}, (token_id(" 1"),): {token_id("0"): -0.1, token_id(";"): -3.0}}
    assert tokens.log_probabilities(known) == pytest.approx((math.log(0.9) - 3.0, math.log(0.9) - 0.1))


async def test_without_a_separator_no_label_is_ended() -> None:
    assert texts_of(await found(ToyWire(splits=TENS), ["1", "10"])) == [[" 1"], [" 10"]]


async def test_labels_of_which_none_begins_with_another_need_no_end() -> None:
    wire = ToyWire(splits={" 10": [" 10"]})
    assert texts_of(await found(wire, ["1", "10"], separator="\n\n")) == [[" 1"], [" 10"]]
    assert not any("\n\n" in text for text in wire.encoded)


class SplitsSpaceByWhatFollows(ToyWire):
    """As GPT-2's kind of tokenizer: two line breaks are one token at the end of a text, and two before a word."""

    def _tokens(self, text: str) -> list[Token]:
        pieces = re.finditer(r" ?[a-zA-Z]+| ?1|\d|\s+(?!\S)|\s|[^\w\s]", text)
        return [Token(token_id(piece[0]), piece.end() if self.ends else None) for piece in pieces]


@pytest.mark.parametrize("ends", [False, True])
async def test_the_token_that_ends_a_label_is_the_one_it_has_before_the_next_demonstration(ends: bool) -> None:
    tokens = await found(SplitsSpaceByWhatFollows(ends=ends), ["1", "10"], separator="\n\n")
    assert [token.id for token in tokens.paths[0][0]] == [token_id(" 1"), token_id("\n")]


@pytest.mark.parametrize("ends", [False, True])
async def test_where_a_labels_end_merges_with_the_separator_the_merged_token_ends_it(ends: bool) -> None:
    wire = ToyWire(merges=[".\n\n"], ends=ends)
    tokens = await found(wire, ["no.", "no. 5"], separator="\n\n")
    assert [token.id for token in tokens.paths[0][0]] == [token_id(" no"), token_id(".\n\n")]
    whole = await found(ToyWire(merges=[" no\n"], ends=ends), ["no", "no 5"], separator="\n\n")
    assert whole.paths[0][0][0].id == token_id(" no\n")


async def test_a_separator_that_merges_with_the_next_text_ends_no_label() -> None:
    with pytest.raises(BackendRefused, match=r"the label '1' .* no token of the separator ' ' ends it"):
        await found(ToyWire(splits=TENS), ["1", "10"], separator=" ")


async def test_a_separator_is_read_until_it_reads_unlike_every_label() -> None:
    labels = ["yes", "yes and no", "yes and"]
    tokens = await found(ToyWire(), labels, separator=" and\n")
    assert texts_of(tokens) == [[" yes and\n"], [" yes and no"], [" yes and and"]]
    with pytest.raises(BackendRefused, match=r"the label 'yes' .* reads as another label begins"):
        await found(ToyWire(), ["yes", "yes;no"], separator=";")


async def test_each_spelling_that_another_label_begins_with_is_ended() -> None:
    tokens = await found(ToyWire(), ["yes", "yes and no"], ".", separator="\n\n", all_spellings=True)
    assert texts_of(tokens)[0] == [f"{spelling}\n" for spelling in (" yes", " YES", " Yes", "yes", "YES", "Yes")]
    assert all(not text.endswith("\n") for text in texts_of(tokens)[1])


async def test_a_spelling_that_cannot_be_ended_is_left_out_unless_it_is_the_labels_own() -> None:
    wire = ToyWire(merges=[" YES;T", " YES;7"])
    tokens = await found(wire, ["yes", "yes and no"], separator=";", all_spellings=True)
    assert texts_of(tokens)[0] == [" yes;", " Yes;"]
    with pytest.raises(BackendRefused, match="the label 'YES' cannot be scored"):
        await found(wire, ["YES", "YES and no"], separator=";")
