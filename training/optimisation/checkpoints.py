"""Checkpoints of one training: whole or not there, each with the hashes of its files; damaged ones are passed over."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from training.optimisation.files import files_of, name_within, publish_folder, remove_folder, sha256_of, write_json

SEAL = "sealed.json"  # the hash of every other file
_KEPT = 2  # should the newest be damaged on the disk, there is one before it


class Checkpoints:
    """The checkpoints in a folder, which belongs to one training alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.staging = folder / ".staged"  # where the next one is written

    def newest(self) -> Path | None:
        """The newest checkpoint that is as it was written; None where there is none."""
        return next(filter(_is_whole, self._newest_first()), None)

    def prepare(self) -> None:
        """An empty place for the next checkpoint."""
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(parents=True)

    def commit(self, staged: Path, step: int) -> None:
        """Seal what was written, give it its name and forget older ones."""
        write_json(staged / SEAL, {name_within(file, staged): sha256_of(file) for file in files_of(staged)})
        publish_folder(staged, self._folder / f"step-{step:08}")
        for old in list(self._newest_first())[_KEPT:]:
            remove_folder(old)

    def clear(self) -> None:
        """Forget them all."""
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
