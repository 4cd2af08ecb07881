"""Unpacks what was downloaded of a training, and says whether it is what the service named."""

import hashlib
import os
import shutil
import tarfile
import uuid
from pathlib import Path

from icm.errors import DamagedDownload


def unpack(archive: Path, folder: Path, sha256: str | None) -> None:
    """Write the files of an archive into a new folder, which appears once they are whole.

    Only plain files below the folder are written, whatever the archive says (PEP 706). Raises DamagedDownload where
    it says otherwise, or where the files are not those of this content hash; FileExistsError where the folder is there.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; name a new folder")
    staged = folder.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(staged, filter="data")
        if sha256 is not None and _content_sha256(staged) != sha256:
            raise DamagedDownload(f"the files are not those of {sha256}; download them again")
        staged.rename(folder)
    except (tarfile.TarError, EOFError) as error:
        raise DamagedDownload(f"the archive cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _content_sha256(folder: Path) -> str:
    """SHA-256 over the lines that `sha256sum` prints for the files, in the order of their names as bytes."""
    names = sorted(
        (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()), key=os.fsencode
    )
    lines = (f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
