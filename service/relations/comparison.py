"""The common part of relations whose rows compare two things in order, such as "a is larger than b"."""

from collections.abc import Hashable

from pydantic import Field

from service.relations.columns import Columns, Fields, Key, names_of, value_of
from service.relations.keyed import KeyedRelation
from service.values import is_blank


class Comparison(KeyedRelation):
    """A relation whose rows compare two things, named by the columns `first` and `second`."""

    first: str
    second: str
    group: Columns | None = Field(None, description="columns of the group within which rows compare things")
    label: str | None = Field(None, description="label that says `first` before `second`; default: the task's first")

    @property
    def columns(self) -> tuple[str, ...]:
        """See BaseRelation."""
        return (self.first, self.second, *names_of(self.group))

    def compared(self, row: Fields) -> tuple[Hashable, Hashable]:
        """The two things, in order. Raises UnusableValue."""
        return value_of(self.first, row), value_of(self.second, row)

    def compares_with_itself(self, row: Fields) -> bool:
        """Whether the two things are the same. Raises UnusableValue."""
        first, second = self.compared(row)
        return bool(first == second and not is_blank(row[self.first]))

    def cluster_key(self, position: int, row: Fields) -> Key:  # noqa: ARG002  # the row's position does not matter
        """The two things, in order: rows that compare the same things count as one. Raises UnusableValue."""
        return self.compared(row)
