"""Write files that are complete or absent after any end of process or machine: write, fsync, rename, fsync."""

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
    """Write JSON completely, in a canonical form."""
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def publish_folder(staged: Path, path: Path) -> None:
    """Name a finished folder after syncing all its files; delete a folder that has the name."""
    for file in files_of(staged):
        _sync(file)
    for folder in (staged, *(inner for inner in staged.rglob("*") if inner.is_dir())):
        sync_folder(folder)
    if path.exists():
        remove_folder(path)
    staged.rename(path)
    sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Rename and then delete a folder, so that nobody takes a half of it for the whole."""
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
    """Sync the names in a folder to the disk."""
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
