"""Scores prompt trees on a real language model in this process; its labels may have several tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from benchmarks.local import load_model
from inference.batching.packed import NextToken, PackedScorer
from inference.engine import CacheLimits, PlainScorer, packed_scorer
from inference.model.language_model import DtypeName, LanguageModel, token_arrays
from inference.model.tokenization import PromptTokenizer
from service.identifiers import Row
from service.search.predictions.prompt_tree import LogProbabilities, TreeScores, Usage
from service.search.state.steps import Request

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A language model that is ready to score, with a prefix cache where it works with one."""

    language_model: LanguageModel
    tokenizer: PromptTokenizer
    scorer: PackedScorer | PlainScorer

    @classmethod
    def of(cls, model: str, cache_tokens: int | None = None, dtype: DtypeName = "auto") -> "Loaded":
        """Load a folder or hub name. Raises OSError where there is no such model."""
        language_model = load_model(model, dtype)
        packed = packed_scorer(language_model, CacheLimits(cache_tokens=cache_tokens))
        return cls(language_model, PromptTokenizer(language_model.tokenizer), packed or PlainScorer(language_model))


class RealScorer:
    """Answers prompt trees about one label set, from an empty prefix cache on; `usage` counts from then.

    A label's log-probability is that of all its tokens, by the chain rule; a beginning that labels share
    is one more prompt. Raises ValueError where the tokenizer gives labels no tokens of their own behind `text`.
    """

    def __init__(self, loaded: Loaded, labels: Sequence[str], text: str) -> None:
        self.usage = Usage()
        self.context_tokens = loaded.language_model.context_tokens
        self._tokenizer, self._scorer = loaded.tokenizer, loaded.scorer
        self._labels = [self._tokens_behind(text, label) for label in labels]
        if len(set(self._labels)) < len(labels):
            raise ValueError(f"the tokenizer does not tell the labels {list(labels)} apart")
        self._following = _following(self._labels)
        if isinstance(self._scorer, PackedScorer):
            self._scorer.cache.clear()

    def answer(self, request: Request) -> list[TreeScores]:
        """The scores of every tree; all prompts travel together, so that short ones share forward passes."""
        asked = [[(row, self._tokenizer.encode(prompt)) for row, prompt in tree.prompts()] for tree in request]
        prompts = [[*prompt, *start] for tree in asked for _, prompt in tree for start in self._following]
        named = [following for tree in asked for _ in tree for following in self._following.values()]
        answers = iter(zip(prompts, self._scorer.score(token_arrays(prompts), named), strict=True))
        found = [self._tree_scores([row for row, _ in tree], answers) for tree in asked]
        self.usage = sum((scores.usage for scores in found), self.usage)
        return found

    def count(self, text: str) -> int:
        """Tokens of a text, without the special tokens around a prompt."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _tree_scores(self, rows: Sequence[Row], answers: Iterator[tuple[Sequence[int], NextToken]]) -> TreeScores:
        """The scores of a tree's rows, taken from the answers in turn."""
        scores, usage = {}, Usage()
        for row in rows:
            own = list(islice(answers, len(self._following)))
            scores[row] = self._by_label([answer.log_probabilities.tolist() for _, answer in own])
            computed = sum(answer.computed for _, answer in own)
            usage += Usage(len(own), sum(len(prompt) for prompt, _ in own), computed)
        return TreeScores(scores, usage)

    def _by_label(self, answers: Sequence[Sequence[float]]) -> LogProbabilities:
        known = {
            (*beginning, token): value
            for (beginning, following), values in zip(self._following.items(), answers, strict=True)
            for token, value in zip(following, values, strict=True)
        }
        return tuple(sum(known[label[: depth + 1]] for depth in range(len(label))) for label in self._labels)

    def _tokens_behind(self, text: str, label: str) -> Ids:
        before = self._tokenizer.encode(text, add_special_tokens=False)
        whole = self._tokenizer.encode(f"{text} {label}", add_special_tokens=False)
        if whole[: len(before)] != before or len(whole) == len(before):
            raise ValueError(f"the tokenizer merges the label {label!r} with the end of the prompt")
        return tuple(whole[len(before) :])


def _following(labels: Sequence[Ids]) -> dict[Ids, list[int]]:
    """Every beginning that labels share, the empty one first, with the tokens that follow it in some label."""
    found: dict[Ids, dict[int, None]] = {}
    for label in labels:
        for depth, token in enumerate(label):
            found.setdefault(label[:depth], {})[token] = None
    return {beginning: list(tokens) for beginning, tokens in found.items()}
