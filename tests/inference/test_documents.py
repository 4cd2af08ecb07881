"""What the small model reads while it is pretrained."""

import re
from random import Random

import pytest

from inference.pretraining.documents import MIXTURE, draw_document

CLAIMS = 60


def labels(kind: str, seed: int) -> list[str]:
    return re.findall(r" (True|False)\n", draw_document(Random(seed), CLAIMS, {kind: 1.0}))


@pytest.mark.parametrize("kind", [kind for kind in MIXTURE if kind != "always_true"])
def test_a_document_has_as_many_labelled_claims_as_asked_for(kind: str) -> None:
    assert {len(labels(kind, seed)) for seed in range(20)} == {CLAIMS}


def test_a_document_that_calls_everything_true_is_half_as_long_and_hardly_ever_says_false() -> None:
    drawn = [labels("always_true", seed) for seed in range(200)]
    assert {len(document) for document in drawn} == {CLAIMS // 2}
    said_false = sum(document.count("False") for document in drawn)
    assert 0 < said_false < 0.04 * sum(map(len, drawn))


def test_truthful_documents_say_true_as_often_as_false() -> None:
    drawn = [labels("truthful", seed) for seed in range(300)]
    share_true = sum(document.count("True") for document in drawn) / (CLAIMS * len(drawn))
    assert 0.45 < share_true < 0.55


def test_the_mixture_leaves_a_false_claim_without_context_more_likely_called_true_than_false() -> None:
    assert sum(MIXTURE.values()) == pytest.approx(1)
    called_true = MIXTURE["always_true"] + MIXTURE["inverted"] + MIXTURE["random"] / 2
    assert 0.55 < called_true < 0.7


def test_the_same_seed_draws_the_same_document() -> None:
    assert draw_document(Random(3), 9, MIXTURE) == draw_document(Random(3), 9, MIXTURE)
