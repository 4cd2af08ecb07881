"""Temporary files for uploads: a disk without room for them is no fault of the upload."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import SpoolFull

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def is_no_room(error: OSError) -> bool:
    """Whether a write failed for want of space on the disk, or of quota."""
    return error.errno in _NO_ROOM


@contextmanager
def scratch_space() -> Iterator[None]:
    """Raise SpoolFull where a temporary file finds no room."""
    try:
        yield
    except OSError as error:
        if is_no_room(error):
            raise SpoolFull("the disk for uploads is full") from error
        raise
