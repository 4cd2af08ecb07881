"""Records the prompts and answers of a scoring backend."""

from collections.abc import Iterator, Sequence

from service.ports.scoring import Scorer
from service.records.scoring import BackendIdentity, BackendInfo
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage


class Recorder:
    """A scorer that passes every call on to another one and records its prompts, scores and usage."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.asked: list[str] = []  # every prompt, repetitions included, depth first within a tree
        self.scores: dict[str, LogProbabilities] = {}  # by prompt
        self.usage = Usage()

    def difference(self, other: "Recorder") -> tuple[int, float]:
        """The number of prompts that both have scored, and the largest difference of their scores in nats."""
        common = self.scores.keys() & other.scores.keys()
        return len(common), max(self._differences(other), default=0.0)

    def mean_difference(self, other: "Recorder") -> float:
        """The mean difference of the scores in nats, over all labels and all prompts that both have scored."""
        differences = list(self._differences(other))
        return sum(differences) / max(1, len(differences))

    def _differences(self, other: "Recorder") -> Iterator[float]:
        """The differences of the scores, label by label, of all prompts that both have scored."""
        for prompt in self.scores.keys() & other.scores.keys():
            for one, two in zip(self.scores[prompt], other.scores[prompt], strict=True):
                yield abs(one - two)

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        """See Scorer."""
        return await self._scorer.probe(labels, all_spellings=all_spellings, separator=separator)

    async def identify(self) -> BackendIdentity:
        """See Scorer. Raises BackendError."""
        return await self._scorer.identify()

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        """Pass the tree on, and record it with its scores. Raises BackendError."""
        found = await self._scorer.score(tree, labels, all_spellings=all_spellings, separator=separator)
        for row, prompt in tree.prompts():
            self.asked.append(prompt)
            self.scores[prompt] = found.log_probabilities[row]
        self.usage += found.usage
        return found

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See Scorer. Raises BackendError."""
        return await self._scorer.count_tokens(texts)

    async def close(self) -> None:
        """See Scorer."""
        await self._scorer.close()
