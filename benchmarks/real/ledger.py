"""Keeps measured cells in a file, so that an interrupted run resumes after the last one."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.real.cells import Cell, Measured


class Ledger:
    """Cells in a file, a line of JSON each; of two lines for one cell the later counts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[Cell, Measured]:
        """Every cell that is kept; none where there is no file. Raises ValueError for a line that is no cell."""
        return dict(self._cells()) if self.path.exists() else {}

    def append(self, cell: Cell, measured: Measured, fingerprint: str | None) -> None:
        """Keep a cell."""
        self._cut_unfinished_line()
        line = json.dumps({"cell": asdict(cell), "fingerprint": fingerprint, "measured": measured})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _cells(self) -> Iterator[tuple[Cell, Measured]]:
        for number, line in enumerate(self.path.read_text("utf-8").splitlines(keepends=True), start=1):
            if not line.endswith("\n"):
                return  # a crash cut it off
            try:
                entry = json.loads(line)
                yield Cell(**entry["cell"]), {**entry["measured"], "fingerprint": entry["fingerprint"]}
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"line {number} of {self.path} is no cell: {error!r}") from error

    def _cut_unfinished_line(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
