from array import array

import pytest

from service.scoring.calls.executor import CallExecutor
from service.scoring.tokenization.encoding import Encoder
from service.scoring.trees.flat_tree import flatten
from service.scoring.trees.tree_ids import encode_tree
from tests.unit.scoring.toy_trees import halves
from tests.unit.scoring.toy_wire import BEGINNING, ToyWire, token_id


def encoder_of(wire: ToyWire, *, remembered_tokens: int = 10_000) -> Encoder:
    return Encoder(wire, CallExecutor(concurrency=4), remembered_tokens=remembered_tokens)


async def test_a_text_is_encoded_once_and_an_empty_one_needs_no_call() -> None:
    wire = ToyWire()
    encoder = encoder_of(wire)
    assert await encoder.ids(["a b", "", "a b", "c"]) == [
        array("I", [token_id("a"), token_id(" b")]),
        array("I"),
        array("I", [token_id("a"), token_id(" b")]),
        array("I", [token_id("c")]),
    ]
    assert await encoder.count(["c", "a b", ""]) == [1, 2, 0]
    assert sorted(wire.encoded) == ["a b", "c"]


async def test_recently_used_texts_stay_cached_within_the_limit() -> None:
    wire = ToyWire()
    encoder = encoder_of(wire, remembered_tokens=70)  # two texts, 32 tokens' worth of memory each besides their own
    await encoder.count(["a", "b"])
    await encoder.count(["a"])
    await encoder.count(["c"])
    await encoder.count(["a", "b"])
    assert wire.encoded == ["a", "b", "c", "b"]


async def test_more_texts_than_are_remembered_are_counted_all_the_same() -> None:
    encoder = encoder_of(ToyWire(), remembered_tokens=10)
    assert await encoder.count([f"x {number}" for number in range(50)]) == [2] * 50


async def test_a_text_longer_than_all_that_is_remembered_pushes_nothing_out() -> None:
    wire = ToyWire()
    encoder = encoder_of(wire, remembered_tokens=40)
    assert await encoder.count(["a", " ".join("a" * 50), "a"]) == [1, 50, 1]
    assert await encoder.count(["a"]) == [1]
    assert wire.encoded.count("a") == 1


async def test_the_beginning_has_the_special_tokens_in_front_of_a_text() -> None:
    wire = ToyWire()
    encoder = encoder_of(wire)
    assert await encoder.beginning() == await encoder.beginning() == array("I", [BEGINNING])
    assert len(wire.encoded) == 2


@pytest.mark.parametrize(
    ("wire", "expected"), [(ToyWire(), True), (ToyWire(first="_"), False)], ids=["words", "dummy_prefix"]
)
async def test_a_tokenizer_that_marks_every_text_cannot_encode_part_by_part(wire: ToyWire, expected: bool) -> None:
    assert await encoder_of(wire).joins() is expected


async def test_the_ids_of_a_tree_are_those_of_its_prompts_as_whole_texts() -> None:
    wire = ToyWire()
    flat_tree = flatten(halves(range(8)))
    ids = await encode_tree(encoder_of(wire), flat_tree)
    assert ids is not None
    for leaf in range(len(flat_tree.leaves)):
        whole = await wire.encode(flat_tree.prompt(leaf), special=True)
        assert list(ids.prompt(leaf)) == [token.id for token in whole]


async def test_a_tree_whose_texts_merge_has_no_ids() -> None:
    wire = ToyWire(merges=["\n\nQ0"])
    assert await encode_tree(encoder_of(wire), flatten(halves(range(1)))) is None
