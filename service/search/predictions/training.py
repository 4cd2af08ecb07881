"""A search's requests for trainings: train the base on labelled rows, then score further rows with it."""

from dataclasses import dataclass

from service.identifiers import Label, Row
from service.search.predictions.prompt_tree import Query


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A row's text with the label to learn; `weight`, from 0 to 1, says how much the row counts."""

    row: Row
    text: str
    label: Label
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainAndScore:
    """A request to train the base on the examples, and to score every label of the queries with the result.

    Every training starts from the base, never from another training. The queries have no demonstrations; the answer has
    the form of a prompt tree's: log p(label | text) in nats for each row. A `learning_rate` of None is the trainer's.
    """

    examples: tuple[TrainingExample, ...]
    queries: tuple[Query, ...]
    epochs: int
    learning_rate: float | None = None
    seed: int = 0  # of the order of the rows and of the adapter's first weights


@dataclass(frozen=True, slots=True)
class Trainings:
    """Requests for several trainings. None depends on another, so they may run concurrently."""

    requests: tuple[TrainAndScore, ...]

    def __len__(self) -> int:
        """The number of trainings."""
        return len(self.requests)
