"""Keeps measurements in a file, a line of JSON each, so that an interrupted benchmark resumes after the last."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Case = Mapping[str, Any]  # JSON values that identify a measurement
Measured = dict[str, Any]


class Records:
    """The measurements of a file. An unfinished last line, left by a crash, is removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)

    def all(self) -> list[tuple[Case, Measured]]:
        """Every measurement in the order in which it was made, with its case."""
        entries = [json.loads(line) for line in self._path.read_text("utf-8").splitlines()]
        return [(entry["case"], entry["measured"]) for entry in entries]

    def kept(self, case: Case, make: Callable[[], Measured]) -> Measured:
        """The measurement of a case: read where it was made before, else made and written."""
        found = next((measured for known, measured in self.all() if known == case), None)
        if found is None:
            found = make()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"case": case, "measured": found}) + "\n")
        return found
