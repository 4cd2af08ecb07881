"""The results of one job scored in several ways (`benchmarks.servers`)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from statistics import median

from benchmarks.recording import Recorder
from benchmarks.scale import Data
from benchmarks.vllm_server import PromptTokens
from service.scoring.kinds import AnyBackend


@dataclass(frozen=True)
class Way:
    """A server, and the settings of the wire to it."""

    name: str
    settings: AnyBackend
    start: Callable[[], AbstractContextManager[str]]

    @property
    def counts(self) -> bool:
        """Whether the server counts tokens itself."""
        return self.settings.kind == "vllm"


@dataclass(frozen=True)
class Measured:
    """The results of one run."""

    labels: Sequence[str | None]
    accuracy: float
    verdict: str
    seconds: float
    recorder: Recorder
    counted: PromptTokens | None  # by the server itself
    block: int | None  # tokens of a block of its prefix cache, where it says


@dataclass
class Comparison:
    """Every way's runs."""

    data: Data
    ways: Sequence[Way]
    runs: dict[str, list[Measured]] = field(default_factory=dict)

    def first(self, way: Way) -> Measured:
        """A way's first run; counts and scores are those of this one."""
        return self.runs[way.name][0]

    def seconds(self, way: Way) -> float:
        """The median over a way's runs."""
        return median(run.seconds for run in self.runs[way.name])

    def difference(self, way: Way, other: Way) -> tuple[int, float]:
        """The number of prompts that both scored, and the largest difference of their scores in nats."""
        return self.first(way).recorder.difference(self.first(other).recorder)
