"""What the small model reads while it is pretrained."""

import re
from collections.abc import Mapping
from itertools import groupby
from random import Random

import pytest

from inference.pretraining.documents import MIXTURE, NOISY_MIXTURE, draw_document

LONGEST = 60


def labels(kind: str, seed: int) -> list[str]:
    return re.findall(r" (True|False)\n", draw_document(Random(seed), LONGEST, {kind: 1.0}))


@pytest.mark.parametrize("kind", [kind for kind in MIXTURE if kind != "plain"])
def test_a_document_is_as_often_short_as_long_and_never_longer_than_asked_for(kind: str) -> None:
    lengths = sorted(len(labels(kind, seed)) for seed in range(400))
    longest = LONGEST // 4 if kind == "always_true" else LONGEST
    assert lengths[0] == 1
    assert longest * 0.9 < lengths[-1] <= longest
    assert longest**0.35 < lengths[200] < longest**0.65  # log-uniform: the median is the square root


def test_a_document_that_calls_everything_true_hardly_ever_says_false() -> None:
    drawn = [label for seed in range(400) for label in labels("always_true", seed)]
    assert 0 < drawn.count("False") < 0.03 * len(drawn)


def test_truthful_documents_say_true_as_often_as_false_and_often_many_times_in_a_row() -> None:
    drawn = [document for seed in range(600) if len(document := labels("truthful", seed)) > LONGEST / 2]
    said = [label for document in drawn for label in document]
    with_runs = sum(longest_run(document) >= 10 for document in drawn) / len(drawn)
    assert 0.4 < said.count("True") / len(said) < 0.6
    assert 0.3 < with_runs < 0.8


def longest_run(document: list[str]) -> int:
    return max(len(list(run)) for _, run in groupby(document))


@pytest.mark.parametrize("mixture", [MIXTURE, NOISY_MIXTURE])
def test_a_mixture_leaves_a_false_claim_without_context_more_likely_called_true_than_false(
    mixture: Mapping[str, float],
) -> None:
    assert sum(mixture.values()) == pytest.approx(1)
    called_true = mixture["always_true"] + mixture["inverted"] + mixture["random"] / 2
    assert 0.55 < called_true / (1 - mixture.get("plain", 0)) < 0.7


def test_the_same_seed_draws_the_same_document() -> None:
    assert draw_document(Random(3), 9, MIXTURE) == draw_document(Random(3), 9, MIXTURE)


def test_as_many_claims_are_hard_in_each_way_as_asked_for() -> None:
    digits = [1.0, 0, 0, 0, 0, 0]

    def shares(within: float, across: float) -> tuple[float, float]:
        hard = (within, across)
        text = "".join(draw_document(Random(seed), 9, {"truthful": 1.0}, digits, hard) for seed in range(600))
        found = re.findall(r"(\d+) is \w+ than (\d+)", text)
        tens = [int(one) // 10 - int(other) // 10 for one, other in found]
        return tens.count(0) / len(tens), (tens.count(1) + tens.count(-1)) / len(tens)

    assert shares(1, 0) == (1, 0)
    assert shares(0, 1) == (0, 1)
    same, next_to = shares(0.3, 0.4)
    assert 0.25 < same < 0.4
    assert 0.4 < next_to < 0.55
