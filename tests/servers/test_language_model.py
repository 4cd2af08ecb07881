import numpy as np
import pytest

from tests.servers.language_model import (
    BEGIN,
    ToyLanguageModel,
    ToyTokenizer,
    labels_of,
    masked,
    top,
    warmed,
)

TEXTS = [
    "",
    "The city of Paris is in France. True",
    "Zürich is größer — 東京!\n\n\tx  y",
    "xylophones 1234 </s> <s>",
    " \n \n\n\n ",
    "I think this claim is True",
]


@pytest.mark.parametrize("text", TEXTS, ids=map(str, range(len(TEXTS))))
def test_tokens_cover_a_text_without_a_gap(text: str) -> None:
    pieces = ToyTokenizer().encode(text)
    covered = sorted({place for piece in pieces for place in range(piece.start, piece.stop)})
    assert covered == list(range(len(text)))
    assert [piece.start for piece in pieces] == sorted(piece.start for piece in pieces)
    plain = text.replace("<s>", "").replace("</s>", "")
    assert ToyTokenizer().decode(piece.id for piece in pieces) == plain


def test_a_word_of_the_vocabulary_is_one_token_with_its_space_and_any_other_is_several() -> None:
    tokenizer = ToyTokenizer()
    assert [piece.text for piece in tokenizer.encode("is True xylophone")][:2] == ["is", " True"]
    assert len(tokenizer.ids(" True")) == len(tokenizer.ids(" False")) == 1
    assert len(tokenizer.ids(" xylophone")) > 3
    assert len(ToyTokenizer(split=(" True", "True")).ids(" True")) > 1


def test_the_beginning_token_comes_with_special_tokens_alone() -> None:
    tokenizer = ToyTokenizer()
    begin, *rest = tokenizer.encode("is True", special=True)
    assert (begin.id, begin.start, begin.stop) == (BEGIN, 0, 0)
    assert rest == tokenizer.encode("is True")
    assert ToyTokenizer(begins=False).encode("is True", special=True) == rest


def test_special_tokens_in_a_text_are_recognised() -> None:
    assert ToyTokenizer().ids("<s>True") == [BEGIN, ToyTokenizer().id_of("True")]


def test_words_do_not_merge_across_their_borders_unless_they_are_glued() -> None:
    plain, glued = ToyTokenizer(), ToyTokenizer(glued=("\n\nThe", "is True"))
    for left, right in (("Paris.\n\n", "The city"), ("this claim is", " True")):
        assert plain.ids(left + right) == plain.ids(left) + plain.ids(right)
        assert glued.ids(left + right) != glued.ids(left) + glued.ids(right)


def test_one_character_can_be_several_tokens() -> None:
    pieces = ToyTokenizer().encode("é")
    assert [(piece.text, piece.start, piece.stop) for piece in pieces] == [("<0xC3>", 0, 1), ("<0xA9>", 0, 1)]


def test_probabilities_sum_to_one_and_depend_on_the_ids_alone() -> None:
    model = ToyLanguageModel(ToyTokenizer())
    ids = model.tokenizer.ids("The city of Paris is in France.", special=True)
    values = model.log_probabilities(ids)
    assert values.shape == (model.tokenizer.size,)
    assert np.exp(values).sum() == pytest.approx(1)
    assert np.array_equal(values, ToyLanguageModel(ToyTokenizer()).log_probabilities(tuple(ids)))
    assert not np.allclose(values, model.log_probabilities(ids[1:]))


def test_other_weights_give_other_values() -> None:
    tokenizer = ToyTokenizer()
    one, two = (ToyLanguageModel(tokenizer, seed=seed).log_probabilities([1, 2, 3]) for seed in (0, 1))
    assert np.abs(one - two).max() > 1


def test_demonstrations_decide_which_answer_is_likely() -> None:
    model = ToyLanguageModel(ToyTokenizer())
    texts = [f"{one} plus {two}" for one in "abcdef" for two in "uvw"]
    *shown, asked = labels_of(texts).items()
    flipped = {"True": "False", "False": "True"}
    right = "\n\n".join([f"{text} {label}" for text, label in shown] + [asked[0]])
    wrong = "\n\n".join([f"{text} {flipped[label]}" for text, label in shown] + [asked[0]])
    true, false = (model.tokenizer.id_of(f" {label}") for label in (asked[1], flipped[asked[1]]))
    for prompt, sign in ((right, 1), (wrong, -1)):
        values = model.log_probabilities(model.tokenizer.ids(prompt, special=True))
        assert sign * (values[true] - values[false]) > 2
        assert {token for token, _ in top(values, 2)} == {true, false}


def test_an_answer_of_several_tokens_is_continued_once_it_is_begun() -> None:
    model = ToyLanguageModel(ToyTokenizer(split=(" True", "True")))
    first, *rest = model.tokenizer.ids(" True")
    ids = model.tokenizer.ids("Paris is in France.", special=True)
    for token in rest:
        ids.append(first)
        assert top(model.log_probabilities(ids), 1)[0][0] == token
        first = token


def test_what_is_impossible_has_probability_zero() -> None:
    values = ToyLanguageModel(ToyTokenizer(), impossible=(" False",)).log_probabilities([1, 2])
    assert values[ToyTokenizer().id_of(" False")] == -np.inf
    assert np.exp(values).sum() == pytest.approx(1)


def test_masks_and_temperatures_keep_a_distribution() -> None:
    values = ToyLanguageModel(ToyTokenizer()).log_probabilities([5, 6])
    assert np.exp(masked(values, [3, 9])).sum() == pytest.approx(1)
    assert masked(values, [3, 9])[3] - masked(values, [3, 9])[9] == pytest.approx(values[3] - values[9])
    assert np.exp(warmed(values, 0.5)).sum() == pytest.approx(1)
