"""Union-find: which numbers are connected, when some of them are joined again and again."""

from array import array


class UnionFind:
    """The numbers from 0 up to a size; joined numbers form one group."""

    def __init__(self, size: int) -> None:
        self._parents = array("I", range(size))  # never larger than the number itself

    def root(self, number: int) -> int:
        """The smallest number of the group of this one."""
        parents = self._parents
        while parents[number] != number:
            parents[number] = number = parents[parents[number]]
        return number

    def join(self, *numbers: int) -> None:
        """Make one group of the groups of these numbers."""
        parents = self._parents
        first = self.root(numbers[0]) if numbers else 0
        for number in numbers[1:]:
            root = number if parents[number] == number else self.root(number)
            if root < first:
                parents[first] = first = root
            else:
                parents[root] = first

    def groups(self) -> list[int]:
        """The group of every number; groups are numbered from 0 by their smallest members."""
        found: list[int] = []
        roots = 0
        for number, parent in enumerate(self._parents):
            found.append(roots if parent == number else found[parent])
            roots += parent == number
        return found
