"""Checkpoints of one training: complete or absent, each with the hashes of its files; ignores damaged ones."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from training.optimisation.files import files_of, name_within, publish_folder, remove_folder, sha256_of, write_json

SEAL = "sealed.json"  # the hash of every other file
_KEPT = 2  # if the newest is damaged on the disk, the one before it remains


class Checkpoints:
    """The checkpoints in a folder, which belongs to one training alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.staging = folder / ".staged"  # folder of the next one

    def newest(self) -> Path | None:
        """The newest undamaged checkpoint; None without one."""
        return next(filter(_is_whole, self._newest_first()), None)

    def prepare(self) -> None:
        """Create an empty folder for the next checkpoint."""
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True)

    def commit(self, staged: Path, step: int) -> None:
        """Seal the new checkpoint, name it and delete older ones."""
        write_json(staged / SEAL, {name_within(file, staged): sha256_of(file) for file in files_of(staged)})
        publish_folder(staged, self._folder / f"step-{step:08}")
        for old in list(self._newest_first())[_KEPT:]:
            remove_folder(old)

    def clear(self) -> None:
        """Delete all checkpoints."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _newest_first(self) -> Iterator[Path]:
        return iter(sorted(self._folder.glob("step-*"), reverse=True))


def _is_whole(checkpoint: Path) -> bool:
    with suppress(OSError, ValueError):
        sealed = json.loads((checkpoint / SEAL).read_text("utf-8"))
        found = {name_within(file, checkpoint): sha256_of(file) for file in files_of(checkpoint)}
        found.pop(SEAL)
        return bool(sealed) and found == sealed
    return False
