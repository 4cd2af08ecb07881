"""Miniature language models, each with one fault; pure functions of the prompt."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.errors import BackendRefused
from service.scoring.deterministic import DeterministicScorer
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, TreeScores

Demonstration = tuple[str, int]  # text and label
_UNSURE_NATS = 5.0  # how much it may prefer a label of an unknown text, in one prompt

Belief = Callable[[Sequence[Demonstration], str, int], Sequence[float]]  # logits, one for each label


class BelievingScorer(DeterministicScorer):
    """The deterministic scorer with its own belief: logits given demonstrations and a query, in nats."""

    def __init__(self, belief: Belief) -> None:
        super().__init__()
        self._belief = belief

    def _answer(self, demonstrations: Sequence[str], query: str, labels: Sequence[str]) -> LogProbabilities:
        shown = []
        for demonstration in demonstrations:
            text, _, label = demonstration.rpartition(" ")
            if label in labels:
                shown.append((text, labels.index(label)))
        logits = self._belief(shown, query, len(labels))
        normalizer = math.log(sum(map(math.exp, logits)))
        return tuple(logit - normalizer for logit in logits)


class FailingScorer(DeterministicScorer):
    """A scorer that refuses after a number of calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self._left = calls

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        self._left -= 1
        if self._left < 0:
            raise BackendRefused("the server has no log-probabilities")
        return await super().score(tree, labels)


@dataclass(frozen=True)
class Concept:
    """A language model that knows a truth and infers from demonstrations how labels are shifted against it.

    `home` is how much it leans towards the truth as it is whatever it reads, nats; without
    it every permutation of the labels is as good. Of `undecided` texts it knows nothing: it answers by lot,
    anew for every prompt.
    """

    truth: Mapping[str, int]
    certainty: float = 4.0
    home: float = 1.0
    undecided: frozenset[str] = frozenset()

    def __call__(self, shown: Sequence[Demonstration], query: str, classes: int) -> Sequence[float]:
        votes = [0.0] * classes
        for text, label in shown:
            if text not in self.undecided:
                votes[(label - self.truth[text]) % classes] += 1
        if query in self.undecided:
            return [_UNSURE_NATS * _fraction(f"{number} {shown} {query}") for number in range(classes)]
        logits = [self.certainty * vote / (sum(votes) + 1) for vote in votes]
        logits[0] += self.home
        return [logits[(label - self.truth[query]) % classes] for label in range(classes)]


@dataclass(frozen=True)
class Misread:
    """Tells rows apart, but takes each label word for the next one, whatever demonstrations say.

    So do small language models: behind gold labels with swapped words they go on reading the words as they are.
    """

    truth: Mapping[str, int]

    def __call__(self, _shown: Sequence[Demonstration], query: str, classes: int) -> Sequence[float]:
        certainty = 1.0 + 2.0 * _fraction(query)
        return [certainty * (number == (self.truth[query] + 1) % classes) for number in range(classes)]


@dataclass(frozen=True)
class Torn:
    """A language model that knows one truth, but adopts a rival one if demonstrations leave the choice."""

    own: Mapping[str, int]
    rival: Mapping[str, int]
    certainty: float = 4.0

    def __call__(self, shown: Sequence[Demonstration], query: str, classes: int) -> Sequence[float]:
        fits = [sum(label == truth[text] for text, label in shown) for truth in (self.own, self.rival)]
        truth = self.own if 10 * fits[0] >= 9 * len(shown) else self.rival
        return [self.certainty * (label == truth[query]) for label in range(classes)]


def one_label(label: int, certainty: float = 4.0) -> Belief:
    """A belief that gives every row the same label."""
    return lambda _shown, _query, classes: [certainty * (number == label) for number in range(classes)]


def echo(certainty: float = 5.0) -> Belief:
    """A belief that repeats the most frequent label of the demonstrations, or the first one without demonstrations."""

    def belief(shown: Sequence[Demonstration], _query: str, classes: int) -> Sequence[float]:
        counts = [0.5 * (number == 0) + sum(label == number for _, label in shown) for number in range(classes)]
        return [certainty * count / (sum(counts) + 0.5) for count in counts]

    return belief


def noise(seed: int, nats: float) -> Belief:
    """A belief that answers at random, with new logits for every prompt, up to this many nats."""

    def belief(shown: Sequence[Demonstration], query: str, classes: int) -> Sequence[float]:
        return [nats * _fraction(f"{seed} {number} {shown} {query}") for number in range(classes)]

    return belief


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
