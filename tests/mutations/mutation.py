"""A promise that is broken on purpose."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A line that occurs once in a file, the same line broken, and the tests that must notice."""

    name: str
    file: str
    original: str
    replacement: str
    tests: tuple[str, ...]  # at least one of them must fail

    def applied(self, source: str) -> str:
        """The file's text with the promise broken. Raises ValueError unless the line occurs once."""
        times = source.count(self.original)
        if times != 1:
            raise ValueError(f"{self.name}: {self.file} has the text {times} times, not once; adapt the row")
        return source.replace(self.original, self.replacement)
