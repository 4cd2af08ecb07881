"""The benchmark of orders counts what an ideal prefix cache computes."""

import pytest

from benchmarks.prefix_sharing import divide_and_conquer, fixed_order, measure, problem_of
from inference.model.language_model import LanguageModel
from inference.model.tokenization import PromptTokenizer
from tests.support.inference.tiny import llama, train_tokenizer, trie_size

ROWS = [{"statement": f"{number} is", "label": number % 3 == 0} for number in range(16)]


@pytest.fixture(scope="module")
def language_model() -> LanguageModel:
    return LanguageModel(llama(), train_tokenizer(), "tiny")


def test_divide_and_conquer_computes_least_and_scores_as_if_unshared(language_model: LanguageModel) -> None:
    problem, labels = problem_of(ROWS, "statement")
    tokenizer = PromptTokenizer(train_tokenizer())
    costs = []
    for order in (fixed_order, divide_and_conquer):
        prompts = [tokenizer.encode(prompt) for prompt in order(problem, labels)]
        cost = measure(language_model, prompts, [90, 91], checks=16)
        assert cost.sent == sum(map(len, prompts))
        assert cost.computed == trie_size(prompts)
        assert cost.difference < 1e-5
        costs.append(cost)
    fixed, halved = costs
    assert fixed.sent == halved.sent
    assert halved.computed < fixed.computed / 1.5 < fixed.sent / 2


def test_both_orders_put_every_other_row_before_each(language_model: LanguageModel) -> None:
    problem, labels = problem_of(ROWS, "statement")
    for order in (fixed_order, divide_and_conquer):
        for number, prompt in enumerate(order(problem, labels)):
            blocks = prompt.split("\n\n")
            asked = blocks.pop()
            assert asked == f"{number} is"
            assert sorted(blocks) == sorted(
                f"{row['statement']} {row['label']}" for other, row in enumerate(ROWS) if other != number
            )
