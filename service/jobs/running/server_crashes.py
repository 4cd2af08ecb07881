"""Counts how often the inference server crashed on each prompt, so that a fatal prompt is found in spite of pauses.

A server that loads its model for minutes pauses the job each time it crashes. The counts are stored with the shard:
the worker that resumes it asks for the suspects one at a time, and gives up those that the server crashed on often.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from service.search.prompting.recall import PromptKey

CRASHES = 3  # over a prompt that was asked for alone; another client may have caused each of them
SPREAD = 3  # so many prompts may be accused at least, however small the shard


@dataclass
class ServerCrashes:
    """The suspects of one shard: prompts that were under way when the server crashed.

    `counts`: how often the server crashed on the prompt alone, 0 where it crashed on several at once.
    """

    counts: dict[PromptKey, int] = field(default_factory=dict)

    @classmethod
    def stored(cls, counts: Mapping[str, int]) -> "ServerCrashes":
        """Read what `to_json` gave."""
        return cls({PromptKey(bytes.fromhex(key)): count for key, count in counts.items()})

    def to_json(self) -> dict[str, int]:
        """The counts by the prompts' keys in hexadecimal digits."""
        return {key.hex(): count for key, count in self.counts.items()}

    def note(self, keys: Iterable[PromptKey], *, alone: bool) -> None:
        """Count a crash on the prompts with these keys; it accuses none of several."""
        under_way = set(keys)
        accused = alone and len(under_way) == 1
        for key in under_way:
            self.counts[key] = self.counts.get(key, 0) + accused

    def suspects(self, keys: Iterable[PromptKey]) -> set[PromptKey]:
        """Those of the prompts that were under way at a crash."""
        return self.counts.keys() & set(keys)

    def is_fatal(self, key: PromptKey) -> bool:
        """Whether the server crashed on this prompt alone so often that nobody asks for it again."""
        return self.counts.get(key, 0) >= CRASHES

    def accused(self, keys: Iterable[PromptKey]) -> int:
        """The number of prompts that the server crashed on alone at least once.

        Where these are many, the prompts have something in common, such as a demonstration or their length.
        """
        return sum(self.counts.get(key, 0) > 0 for key in set(keys))

    def acquit(self, keys: Iterable[PromptKey]) -> None:
        """Forget prompts that the server has answered."""
        for key in keys:
            self.counts.pop(key, None)
