"""What the toy language model itself says of labels: the yardstick for every adapter."""

from collections.abc import Iterable

import numpy as np

from service.identifiers import Row
from service.scoring.labels import spellings_of
from service.search.prompt_tree import PromptTree
from tests.servers.language_model import ToyLanguageModel


def own_scores(
    model: ToyLanguageModel, tree: PromptTree, labels: Iterable[str], *, all_spellings: bool = False
) -> dict[Row, list[float]]:
    """What the language model itself says, the tokens of prompt and label as those of one text."""
    return {
        row: [
            _log_sum(_path(model, prompt, text) for text in _texts(label, all_spellings=all_spellings))
            for label in labels
        ]
        for row, prompt in tree.prompts()
    }


def _texts(label: str, *, all_spellings: bool) -> list[str]:
    return spellings_of(label) if all_spellings else [f" {label}"]


def _path(model: ToyLanguageModel, prompt: str, text: str) -> float:
    before, whole = (model.tokenizer.ids(each, special=True) for each in (prompt, prompt + text))
    assert whole[: len(before)] == before
    return float(sum(model.log_probabilities(whole[:end])[whole[end]] for end in range(len(before), len(whole))))


def _log_sum(values: Iterable[float]) -> float:
    return float(np.logaddexp.reduce(list(dict.fromkeys(values))))
