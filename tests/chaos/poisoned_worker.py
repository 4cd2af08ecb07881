"""A worker whose process ends at once, as if out of memory, when it scores certain prompts."""

import os
from collections import Counter
from collections.abc import Sequence
from unittest.mock import patch

from service.scoring import deterministic
from service.scoring.deterministic import DeterministicScorer
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from tests.long import LONG
from workers import __main__ as door

POISON = "poison"  # a prompt with this word kills the worker
TIRING = "tiring"  # many prompts with this word kill the worker
TREES_UNTIL_TIRED = 20 if LONG else 14  # more than the longest step over 36 or 16 rows needs
OUT_OF_MEMORY = 137  # the exit status of a process that the kernel killed for memory


class FatalScorer(DeterministicScorer):
    """The deterministic scorer, which these words kill."""

    def __init__(self, *, name: str = "default") -> None:
        super().__init__(name=name)
        self._read = Counter[str]()

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        prompts = " ".join(prompt for _, prompt in tree.prompts())
        self._read.update(word for word in (POISON, TIRING) if word in prompts)
        if self._read[POISON] or self._read[TIRING] > TREES_UNTIL_TIRED:
            os._exit(OUT_OF_MEMORY)
        return await super().score(tree, labels, all_spellings=all_spellings, separator=separator)


def main() -> None:
    """Work until stopped or killed."""
    with patch.object(deterministic, "DeterministicScorer", FatalScorer):
        door.main()
