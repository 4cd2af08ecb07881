"""A worker whose process ends at once, as for want of memory, by what it is asked to score."""

import os
from collections import Counter
from collections.abc import Sequence
from unittest.mock import patch

from service.scoring import deterministic
from service.scoring.deterministic import DeterministicScorer
from service.search.predictions.prompt_tree import PromptTree, TreeScores
from tests.long import LONG
from workers import __main__ as door

POISON = "poison"  # nobody survives a prompt with this word
TIRING = "tiring"  # nobody survives many prompts with this one
TREES_UNTIL_TIRED = 20 if LONG else 14  # enough for the longest step over 36 or 16 rows, so that each life advances
OUT_OF_MEMORY = 137  # the exit status of a process that the system ended for that reason


class FatalScorer(DeterministicScorer):
    """The deterministic twin, where it lives."""

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
    """Work until told to stop, or until the end."""
    with patch.object(deterministic, "DeterministicScorer", FatalScorer):
        door.main()
