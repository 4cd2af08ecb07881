"""Finds the language models that trainings start from on this machine, and fingerprints their files."""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from service.errors import TrainingFailed
from service.records.trainings import BaseIdentity
from service.training_process.base_facts import FactsOfFolder

# As the embedded server and the training command have it (inference/model/language_model.py): a test compares them.
_SUFFIXES = (".json", ".safetensors", ".bin", ".model", ".txt")
_END_BYTES = 1 << 20  # read from either end of each file


class BasesOnDisk(Mapping[str, str]):
    """The operator's names of bases, each with its folder or its name on the hub."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> str:
        """The folder, or the name on the hub."""
        return self._places[name]

    def __iter__(self) -> Iterator[str]:
        """The operator's names."""
        return iter(self._places)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    async def identity(self, name: str) -> BaseIdentity | None:
        """The name and fingerprint of the base; None if this process cannot read it, since only workers need to."""
        try:
            return await asyncio.to_thread(identity_of, self._places[name])
        except (OSError, TrainingFailed):
            return None

    async def facts(self, name: str) -> FactsOfFolder | None:
        """What the base's files say of it; None if this process cannot read them, since only workers need to."""
        try:
            return await asyncio.to_thread(lambda: FactsOfFolder(_folder_of(self._places[name])))
        except (OSError, ValueError, AttributeError, TrainingFailed):
            return None


def _folder_of(place: str) -> Path:
    folder = Path(place).expanduser()
    return folder if folder.is_dir() else _downloaded(place)


def identity_of(place: str) -> BaseIdentity:
    """The identity of the base in a folder or of a hub name. Raises TrainingFailed if there is none, and OSError."""
    folder = Path(place).expanduser()
    if folder.is_dir():
        return BaseIdentity(folder.resolve().name, fingerprint_of(folder))
    downloaded = _downloaded(place)
    return BaseIdentity(place, fingerprint_of(downloaded), downloaded.name)


def fingerprint_of(folder: Path) -> str:
    """The hash that distinguishes bases: SHA-256 over the name, the size and both ends of each file.

    Raises TrainingFailed if the folder has no language model.
    """
    if not (folder / "config.json").is_file():
        raise _no_base(str(folder))
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_END_BYTES))
            file.seek(max(_END_BYTES, size - _END_BYTES))
            digest.update(file.read())
    return digest.hexdigest()


def _downloaded(name: str) -> Path:
    with suppress(LocalEntryNotFoundError, HFValidationError):
        return Path(snapshot_download(name, local_files_only=True))
    raise _no_base(name)


def _no_base(name: str) -> TrainingFailed:
    return TrainingFailed(
        f"{name!r}, which ICM_TRAINING__BASES names, is neither the folder of a Hugging Face model nor the name of one "
        "that was downloaded before"
    )
