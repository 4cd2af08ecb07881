"""Counts how often the inference server crashed on each prompt, across pauses of the job, to find fatal prompts.

While a crashed server loads its model again, which may take minutes, the job is paused. The counts are stored with the
shard. The worker that resumes it scores the suspects one at a time, and leaves out those on which the server crashed
often.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from service.search.prompting.recall import PromptKey

CRASHES = 3  # on one prompt scored alone before it counts as fatal; another client may have caused some of them
SPREAD = 3  # the number of prompts that may be accused in a shard of any size


@dataclass
class ServerCrashes:
    """The suspects of one shard: prompts that were under way when the server crashed.

    `counts`: how often the server crashed on the prompt alone; 0 if it crashed only on several at once.
    """

    counts: dict[PromptKey, int] = field(default_factory=dict)

    @classmethod
    def stored(cls, counts: Mapping[str, int]) -> "ServerCrashes":
        """Read the output of `to_json`."""
        return cls({PromptKey(bytes.fromhex(key)): count for key, count in counts.items()})

    def to_json(self) -> dict[str, int]:
        """The counts by the prompts' keys in hexadecimal digits."""
        return {key.hex(): count for key, count in self.counts.items()}

    def note(self, keys: Iterable[PromptKey], *, alone: bool) -> None:
        """Make the prompts with these keys suspects; a crash on one prompt alone also counts against it."""
        under_way = set(keys)
        accused = alone and len(under_way) == 1
        for key in under_way:
            self.counts[key] = self.counts.get(key, 0) + accused

    def suspects(self, keys: Iterable[PromptKey]) -> set[PromptKey]:
        """The prompts, among these, that were under way at a crash."""
        return self.counts.keys() & set(keys)

    def is_fatal(self, key: PromptKey) -> bool:
        """Whether the server crashed on this prompt alone so often that no worker scores it again."""
        return self.counts.get(key, 0) >= CRASHES

    def accused(self, keys: Iterable[PromptKey]) -> int:
        """The number of prompts on which the server crashed alone; many have something in common, such as length."""
        return sum(self.counts.get(key, 0) > 0 for key in set(keys))

    def acquit(self, keys: Iterable[PromptKey]) -> None:
        """Forget prompts that the server has answered."""
        for key in keys:
            self.counts.pop(key, None)
