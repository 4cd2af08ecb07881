"""A file system of a few megabytes that only this process and its children see.

It needs Linux, and root or user namespaces that anybody may make; where neither is to be had there
is no disk to fill, and `mount_here` says so.
"""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18


def mount_here(folder: Path, size_bytes: int) -> None:
    """Mount a file system in memory on an empty folder. Raises OSError if that is not allowed.

    To be called early, while this process has a single thread; it is gone with the last process in it.
    """
    if sys.platform != "linux":
        raise OSError(f"a small file system can be made on Linux alone, not on {sys.platform}")
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    try:
        _call(libc, "unshare", _CLONE_NEWNS)
    except OSError:  # not root: use a user namespace
        _call(libc, "unshare", _CLONE_NEWUSER | _CLONE_NEWNS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _call(libc, "mount", None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
    options = f"size={size_bytes},mode=0711".encode()
    _call(libc, "mount", b"small", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), options)


def fill(folder: Path, *, leave_bytes: int = 0) -> Path:
    """Fill the disk except `leave_bytes`; returns the file that fills it."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file:
        for block in (1 << 20, 1 << 12):
            with suppress(OSError):
                while _free(folder) >= leave_bytes + block:
                    file.write(bytes(block))
    return filler


def _free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _call(libc: ctypes.CDLL, name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
