"""Unpacks the downloaded archive of a training, and compares its files with the hash that the service named."""

import hashlib
import os
import shutil
import tarfile
import uuid
from pathlib import Path, PurePosixPath

from icm.data.files import named
from icm.errors import DamagedDownload

_NOT_WHOLE = "the download is no complete archive; download it again"


def check_new(folder: Path) -> None:
    """Raise FileExistsError if the path exists, even as a link that leads nowhere."""
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder} is there already; name a new folder")


def unpack(archive: Path, folder: Path, sha256: str | None) -> None:
    """Write the files of an archive into a new folder, which appears once all files are complete.

    The archive is a plain tar. This function writes only plain files below the folder (PEP 706). Raises DamagedDownload
    for other members, or if the files do not have this content hash, and FileExistsError if the folder exists.
    """
    check_new(folder)
    staged = folder.with_name(f".{uuid.uuid4().hex}.part")
    try:
        staged.mkdir(parents=True)
        with tarfile.open(archive, "r:") as tar:
            _check_names(tar)
            tar.extractall(staged, filter=_plain_file)  # noqa: S202 - the filter is stricter than "data"
        if sha256 is not None and _content_sha256(staged) != sha256:
            raise DamagedDownload(f"the files are not those of {sha256}; download them again")
        staged.rename(folder)
    except (tarfile.TarError, EOFError) as error:
        raise DamagedDownload(_NOT_WHOLE) from error
    except OSError as error:
        raise named(error, folder) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _check_names(tar: tarfile.TarFile) -> None:
    """Raise DamagedDownload if two members have one name, or if a file has the name of a folder."""
    names = [PurePosixPath(member.name) for member in tar if not member.isdir()]
    folders = {parent for name in names for parent in name.parents}
    if len(set(names)) < len(names) or folders.intersection(names):
        raise DamagedDownload("the archive has two files in one place; nothing was unpacked")


def _plain_file(member: tarfile.TarInfo, place: str) -> tarfile.TarInfo | None:
    """The member in a safe form. Raises DamagedDownload for links, devices, sparse files and paths outside."""
    is_plain = (member.isfile() and not member.issparse()) or member.isdir()
    if not is_plain or PurePosixPath(member.name).is_absolute():
        raise DamagedDownload(f"the archive holds {member.name!r}, which is no plain file of it; nothing was unpacked")
    try:
        return tarfile.data_filter(member, place)
    except tarfile.FilterError as error:
        raise DamagedDownload(
            f"the archive reaches outside its folder by {member.name!r}; nothing was unpacked"
        ) from error


def _content_sha256(folder: Path) -> str:
    """SHA-256 over the lines that `sha256sum` prints for the files, in the order of their names as bytes."""
    names = sorted(
        (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()), key=os.fsencode
    )
    lines = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
