"""The texts that a row compares, as reward models learn and read them (docs/training.md#reward-models)."""

from dataclasses import dataclass

from service.config import Task
from service.identifiers import Label
from service.relations.antisymmetric import AntisymmetricRelation
from service.relations.columns import Fields, names_of
from service.values import as_text


def comparison_of(task: Task) -> AntisymmetricRelation | None:
    """The relation that says what a row compares; None if the task compares nothing."""
    return next((found for found in task.relations if isinstance(found, AntisymmetricRelation)), None)


@dataclass(frozen=True, slots=True)
class Compared:
    """The two texts of a row, and the prompt in front of both: the columns of the comparison's group, a line each."""

    prompt: str
    first: str
    second: str

    @property
    def texts(self) -> tuple[str, str]:
        """Both as a reward model reads them."""
        return self.prompt + self.first, self.prompt + self.second


class Comparer:
    """Reads what the rows of a task compare."""

    def __init__(self, task: Task, comparison: AntisymmetricRelation) -> None:
        self._relation = comparison
        self.positive = Label(0 if comparison.label is None else task.labels.index(comparison.label))

    def of(self, fields: Fields) -> Compared | None:
        """The texts of one row; none where one is blank or both are the same, as the relation leaves such rows out."""
        if not self._relation.takes_part(fields):
            return None
        first, second = (as_text(fields[name]) for name in (self._relation.first, self._relation.second))
        if first == second:
            return None  # of different types, such as 1 and "1"
        prompt = "".join(f"{as_text(fields[name])}\n" for name in names_of(self._relation.group))
        return Compared(prompt, first, second)
