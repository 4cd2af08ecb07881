"""The port to inference servers, as use cases need it."""

from collections.abc import Sequence
from typing import Protocol

from service.ports.rewards import RewardScorer
from service.ports.trained_scores import TrainedScorer
from service.records.adapters import TrainedAdapter
from service.records.scoring import BackendIdentity, BackendInfo
from service.search.predictions.prompt_tree import PromptTree, TreeScores


class Scorer(Protocol):
    """A scoring backend: scores prompt trees.

    With `all_spellings`, the probability of a label is that of all its spellings: as it is, in lower case, in upper
    case and with a capital, each with a space before it and without. The `separator` follows a label in demonstrations.
    It ends each label that is a prefix of another ("1" and "10"), which would otherwise always be the likelier one.
    """

    async def probe(
        self, labels: Sequence[str] = (), *, all_spellings: bool = False, separator: str = ""
    ) -> BackendInfo:
        """Describe the backend, and whether it can score these labels; problems are in the answer."""

    async def identify(self) -> BackendIdentity:
        """Identify the model and server that answer now, by a canary that is seldom repeated. Raises BackendError."""

    async def score(
        self, tree: PromptTree, labels: Sequence[str], *, all_spellings: bool = False, separator: str = ""
    ) -> TreeScores:
        """log p(label | prompt) for every query of the tree. Raises BackendError; never makes up a number."""

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text by the backend's tokenizer, special tokens not counted."""

    async def close(self) -> None:
        """Release every connection."""


class Scorers(Protocol):
    """The scoring backends the operator configured, by name."""

    def names(self) -> Sequence[str]:
        """All names, the default first."""

    def get(self, name: str) -> Scorer:
        """The backend of this name. Raises ModelNotFound."""

    def adapted(self, adapter: TrainedAdapter) -> Scorer:
        """The backend of the adapter's base, with the adapter, which its first call loads.

        Raises AdapterRefused if no backend has that name, or if its server loads no adapters at run time.
        """

    def trainer(self, name: str) -> TrainedScorer | None:
        """The trainer for the base of this backend; None if the operator names no base. Raises ModelNotFound."""

    @property
    def rewards(self) -> RewardScorer:
        """The scorer by reward models. Raises RewardModelUnusable in a process without one."""
