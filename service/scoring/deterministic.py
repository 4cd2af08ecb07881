"""A scoring backend without a server: scores are a pure function of the prompt, for tests and benchmarks."""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from service.records.scoring import BackendIdentity, BackendInfo
from service.scoring.trees.flat_tree import flatten
from service.scoring.wires.kind import Kind
from service.scoring.wires.settings import BackendSettings
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage

Oracle = Callable[[str, int], int]  # (text, number of labels) -> the true label

CONTEXT_TOKENS = 8192
_CERTAINTY = 6.0  # nats between the labels if all demonstrations agree
_PRIOR = 0.6  # weight of the unpermuted label set against one demonstration
_BIAS = 0.4  # nats by which the scorer prefers the first label without demonstrations

KIND = Kind(name="deterministic", title="the deterministic twin")


def hashed_label(text: str, classes: int) -> int:
    """A label drawn from the text alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % classes


class DeterministicScorer:
    """Imitates a language model that knows one true label per row.

    The oracle gives the true label. The demonstrations vote on the cyclic shift of their labels against it; the more
    they agree, the more certain the scores. So the true labelling is the best optimum and every shift of it a local
    one, as with a language model. Tokens are words, and token counts assume an ideal prefix cache within a tree.
    """

    def __init__(self, *, oracle: Oracle = hashed_label, separator: str = "\n\n", name: str = "default") -> None:
        self._oracle = oracle
        self._separator = separator
        self._name = name

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        """Report a backend that is ready and can score every label."""
        del labels, all_spellings, separator
        return BackendInfo(
            name=self._name,
            kind=KIND.name,
            ready=True,
            model="deterministic twin",
            context_tokens=CONTEXT_TOKENS,
            reports_tokens_computed=True,
            tokenizer_agrees=True,
            prefix_cache=True,
            cache_block_tokens=1,
            repeat_difference_nats=0.0,
            warm_difference_nats=0.0,
        )

    async def identify(self) -> BackendIdentity:
        """Always the same identity."""
        return BackendIdentity("deterministic")

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        """Score with log-probabilities over the label set; ignores other spellings and the separator."""
        del all_spellings, separator
        scores, usage = {}, Usage(tokens_computed=sum(_words(segment.text) for segment in flatten(tree).segments))
        for row, prompt in tree.prompts():
            *demonstrations, query = prompt.split(self._separator)
            scores[row] = self._answer(demonstrations, query, labels)
            usage += Usage(1, _words(prompt), _words(query))
        return TreeScores(scores, usage)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of words in each text."""
        return [_words(text) for text in texts]

    async def close(self) -> None:
        """Nothing to release."""

    def _answer(self, demonstrations: Sequence[str], query: str, labels: Sequence[str]) -> LogProbabilities:
        votes = [_PRIOR] + [0.0] * (len(labels) - 1)
        for demonstration in demonstrations:
            text, _, label = demonstration.rpartition(" ")
            if label in labels:
                votes[(labels.index(label) - self._oracle(text, len(labels))) % len(labels)] += 1
        truth, total = self._oracle(query, len(labels)), sum(votes)
        logits = [_CERTAINTY * votes[(label - truth) % len(labels)] / (total + 1) for label in range(len(labels))]
        logits[0] += _BIAS / (1 + len(demonstrations))
        normalizer = math.log(sum(map(math.exp, logits)))
        return tuple(logit - normalizer for logit in logits)


def _words(text: str) -> int:
    return len(text.split())


class DeterministicBackend(BackendSettings):
    """The settings of a backend of kind `deterministic`, which needs no server."""

    of_kind: ClassVar[Kind] = KIND

    kind: Literal["deterministic"] = "deterministic"

    def scorer(self) -> DeterministicScorer:
        """The scorer, in this process."""
        return DeterministicScorer(name=self.name)
