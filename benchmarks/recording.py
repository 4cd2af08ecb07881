"""Keeps what a scoring backend was asked and answered."""

from collections.abc import Iterator, Sequence

from service.ports.scoring import Scorer
from service.records.scoring import BackendIdentity, BackendInfo
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, TreeScores, Usage


class Recorder:
    """A scorer in front of another one."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.asked: list[str] = []  # every prompt as often as it was asked, depth first within a tree
        self.scores: dict[str, LogProbabilities] = {}  # by prompt
        self.usage = Usage()

    def difference(self, other: "Recorder") -> tuple[int, float]:
        """How many prompts both were asked, and the largest difference of their answers in nats."""
        common = self.scores.keys() & other.scores.keys()
        return len(common), max(self._differences(other), default=0.0)

    def mean_difference(self, other: "Recorder") -> float:
        """The mean over labels and prompts that both were asked of how far the answers differ, in nats."""
        differences = list(self._differences(other))
        return sum(differences) / max(1, len(differences))

    def _differences(self, other: "Recorder") -> Iterator[float]:
        """Of both answers to each prompt that both were asked, label by label."""
        for prompt in self.scores.keys() & other.scores.keys():
            for one, two in zip(self.scores[prompt], other.scores[prompt], strict=True):
                yield abs(one - two)

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        """As the other one."""
        return await self._scorer.probe(labels, all_spellings=all_spellings, separator=separator)

    async def identify(self) -> BackendIdentity:
        """As the other one. Raises BackendError."""
        return await self._scorer.identify()

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        """As the other one, kept. Raises BackendError."""
        found = await self._scorer.score(tree, labels, all_spellings=all_spellings, separator=separator)
        for row, prompt in tree.prompts():
            self.asked.append(prompt)
            self.scores[prompt] = found.log_probabilities[row]
        self.usage += found.usage
        return found

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """As the other one. Raises BackendError."""
        return await self._scorer.count_tokens(texts)

    async def close(self) -> None:
        """As the other one."""
        await self._scorer.close()
