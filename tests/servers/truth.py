"""The toy language model's own scores of labels, to compare adapters with."""

from collections.abc import Iterable, Sequence

import numpy as np

from service.identifiers import Row
from service.search.predictions.prompt_tree import PromptTree
from service.values import spellings_of
from tests.servers.language_model import ToyLanguageModel


def own_scores(
    model: ToyLanguageModel,
    tree: PromptTree,
    labels: Sequence[str],
    *,
    all_spellings: bool = False,
    separator: str = "",
    parses: bool = True,
) -> dict[Row, list[float]]:
    """The language model's own scores, with the tokens of prompt and label as one text.

    `parses`: what looks like a special token in a prompt is one.
    With a separator, a label whose tokens others begin with is read with the token behind it.
    """
    texts = {label: _texts(label, all_spellings=all_spellings) for label in labels}
    ended = {
        text: separator
        for label, own in texts.items()
        for text in own
        if separator
        and any(_begins(model, text, other) for others in labels if others != label for other in texts[others])
    }
    return {
        row: [
            _log_sum(_path(model, prompt, text, ended.get(text, ""), parses=parses) for text in own)
            for own in texts.values()
        ]
        for row, prompt in tree.prompts()
    }


def _texts(label: str, *, all_spellings: bool) -> list[str]:
    return spellings_of(label) if all_spellings else [f" {label}"]


def _begins(model: ToyLanguageModel, one: str, other: str) -> bool:
    ids, longer = model.tokenizer.ids(one), model.tokenizer.ids(other)
    return longer[: len(ids)] == ids


def _path(model: ToyLanguageModel, prompt: str, text: str, end: str, *, parses: bool) -> float:
    """The tokens of the text after the prompt, and the token that ends it, if there is one."""
    before, whole = (_ids(model, each, parses=parses) for each in (prompt, prompt + text))
    assert whole[: len(before)] == before
    if end:
        demonstration = _ids(model, f"{prompt}{text}{end}The next", parses=parses)
        assert demonstration[: len(whole)] == whole
        whole = demonstration[: len(whole) + 1]
    return float(sum(model.log_probabilities(whole[:end])[whole[end]] for end in range(len(before), len(whole))))


def _ids(model: ToyLanguageModel, text: str, *, parses: bool) -> list[int]:
    return [piece.id for piece in model.tokenizer.encode(text, special=True, parses=parses)]


def _log_sum(values: Iterable[float]) -> float:
    return float(np.logaddexp.reduce(list(dict.fromkeys(values))))
