"""Files with labelled data sets: formats by extension, and downloads that are complete or absent."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from service.result_formats import ResultFormat

_UNFINISHED = ".part"


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

    An existing file keeps the name until then. A pipe or a device is written directly. Raises OSError with the name.
    """
    target = path.resolve()  # a link keeps pointing to the written file
    try:
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
        else:
            with _replaced(target) as file:
                yield file
    except OSError as error:
        raise named(error, path) from error


@contextmanager
def _replaced(target: Path) -> Iterator[IO[bytes]]:
    unfinished = target.with_name(f".{uuid.uuid4().hex}{_UNFINISHED}")  # of fixed length, even if the target's is long
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


def named(error: OSError, path: Path) -> OSError:
    """The error with this name where it has none, as that of a failed write, or the name of an unfinished file."""
    if error.errno is None or not (error.filename is None or _UNFINISHED in str(error.filename)):
        return error
    return OSError(error.errno, error.strerror, str(path))
