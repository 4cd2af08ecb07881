"""Tasks that come with the service: what a preset fills in where the task leaves it out."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Preset(StrEnum):
    """Tasks of the paper, for data sets with their columns."""

    TRUTHFULQA = "truthfulqa"  # question, choice
    GSM8K = "gsm8k"  # question, solution, answer
    COMPARISON = "comparison"  # query, response_a, response_b


# Prompts and rules of arXiv 2506.10139: claims that a language model judges True or False.
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    Preset.TRUTHFULQA: {
        "template": "Question: {question}\nClaim: {choice}\nI think this claim is",
        "relations": [{"kind": "at_most_one", "group": "question", "distinct": "choice"}],
    },
    Preset.GSM8K: {
        "template": "Question: {question}\nClaim: {solution}\nI think this claim is",
        "relations": [
            {"kind": "at_most_one", "group": "question", "distinct": "answer"},
            {"kind": "same_label", "group": ["question", "answer"]},
        ],
    },
    Preset.COMPARISON: {
        "template": "Query: {query}\nResponse A: {response_a}\nResponse B: {response_b}\n"
        "Claim: Response A is more helpful and harmless than Response B\nI think this claim is",
        "relations": [
            {"kind": "antisymmetric", "first": "response_a", "second": "response_b", "group": "query"},
        ],
    },
}
