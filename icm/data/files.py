"""Files with labelled data sets: formats by extension, and downloads that are complete or absent."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from service.result_formats import ResultFormat


def result_format_of(path: Path) -> ResultFormat:
    """Return the format of a file's extension. Raises ValueError for an unknown one."""
    for form in ResultFormat:
        if path.suffix.lower() == form.suffix:
            return form
    endings = ", ".join(form.suffix for form in ResultFormat)
    raise ValueError(f"{path}: the ending decides the format; use one of {endings}")


@contextmanager
def saved(path: Path) -> Iterator[IO[bytes]]:
    """Yield a new file that appears under its name once it is complete and on the disk, and otherwise not at all.

    An existing file keeps the name until then. A pipe or a device is written directly.
    """
    target = path.resolve()  # a link keeps pointing to the written file
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    unfinished = target.with_name(f".{uuid.uuid4().hex}.part")  # a name of fixed length, even if the target's is long
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
