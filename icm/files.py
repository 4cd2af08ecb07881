"""Files with labelled data sets: formats by their endings, and downloads that are whole or not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

RESULT_FORMATS = ("jsonl", "csv", "parquet")


def result_format_of(path: Path) -> str:
    """The format that a file's ending names. Raises ValueError for any other ending."""
    ending = path.suffix.lower().removeprefix(".")
    if ending not in RESULT_FORMATS:
        endings = ", ".join(f".{name}" for name in RESULT_FORMATS)
        raise ValueError(f"{path}: the ending decides the format; use one of {endings}")
    return ending


@contextmanager
def saved(path: Path) -> Iterator[IO[bytes]]:
    """A new file that is removed again where writing does not come to its end."""
    try:
        with path.open("wb") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
