"""Reports a full disk during the use of temporary files as SpoolFull, since the upload is not at fault."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import SpoolFull

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def is_no_room(error: OSError) -> bool:
    """Whether a write failed because the disk or the quota is full."""
    return error.errno in _NO_ROOM


@contextmanager
def scratch_space() -> Iterator[None]:
    """Raise SpoolFull if the disk has no room for a temporary file."""
    try:
        yield
    except OSError as error:
        if is_no_room(error):
            raise SpoolFull("the disk for uploads is full") from error
        raise
