"""Files with labelled data sets: formats by their endings, and downloads that are whole or not there."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from service.result_formats import ResultFormat


def result_format_of(path: Path) -> ResultFormat:
    """The format that a file's ending names. Raises ValueError for any other ending."""
    for form in ResultFormat:
        if path.suffix.lower() == form.suffix:
            return form
    endings = ", ".join(form.suffix for form in ResultFormat)
    raise ValueError(f"{path}: the ending decides the format; use one of {endings}")


@contextmanager
def saved(path: Path) -> Iterator[IO[bytes]]:
    """A new file that appears under its name once it is whole and on the disk, and otherwise not at all.

    What had the name before keeps it until then. A pipe or a device is written to as it is.
    """
    target = path.resolve()  # a link goes on pointing at what is written
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    unfinished = target.with_name(f".{uuid.uuid4().hex}.part")  # however long the name is
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            unfinished.chmod(target.stat().st_mode & 0o777)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
