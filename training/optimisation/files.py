"""Files that are either whole or not there, whatever ends the process or the machine: write, fsync, rename, fsync."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees a part of it."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole, in a form that the same content always takes."""
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def publish_folder(staged: Path, path: Path) -> None:
    """Give a finished folder its name; one that has the name already goes. All its files are on the disk first."""
    for file in files_of(staged):
        _sync(file)
    for folder in (staged, *(inner for inner in staged.rglob("*") if inner.is_dir())):
        sync_folder(folder)
    if path.exists():
        remove_folder(path)
    staged.rename(path)
    sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Delete a folder, which loses its name first, so that no half of it is ever taken for the whole."""
    doomed = path.with_name(f".{path.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def files_of(folder: Path) -> list[Path]:
    """Every file below a folder, in the order of their names within it."""
    return sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: name_within(path, folder))


def name_within(path: Path, folder: Path) -> str:
    """A file's name from a folder on, the same on every system."""
    return path.relative_to(folder).as_posix()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last."""
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
