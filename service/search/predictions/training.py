"""Trainings as a search asks for them: the base trained on labelled rows, then asked for the labels of others."""

from dataclasses import dataclass

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import Query


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A row's text with the label to be learned behind it; `weight` says how much it counts, 0 to 1."""

    row: Row
    text: str
    label: Label
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainAndScore:
    """Train the base on the examples, then ask what it trained into for every label of the queries.

    Always the base: no training goes on from another one. The queries are asked without demonstrations; the answer is
    that of a prompt tree: for each row log p(label | text) in nats. A `learning_rate` of None is the trainer's own.
    """

    examples: tuple[TrainingExample, ...]
    queries: tuple[Query, ...]
    epochs: int
    learning_rate: float | None = None
    seed: int = 0  # of the order of the rows and of the adapter's first weights


@dataclass(frozen=True, slots=True)
class Trainings:
    """Trainings asked for at once: none depends on another, so they may run side by side."""

    asked: tuple[TrainAndScore, ...]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.asked)
