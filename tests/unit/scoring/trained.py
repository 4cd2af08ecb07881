"""Trained adapters on the disk, as a training leaves them, for tests of how servers get them."""

import json
from pathlib import Path

from service.artifacts.adapter_folder import AdapterFolder
from service.artifacts.file_systems import FileSystemArtifacts
from service.identifiers import JobId
from service.records.adapters import TrainedAdapter

BASE = "model"  # the last part of the fake servers' root


async def stored(place: Path, *, rank: int = 4, base: str = BASE, number: int = 1) -> TrainedAdapter:
    """The record of an adapter whose files are in the folder of artifacts; fake servers read its rank alone."""
    training_id = JobId(f"train_{number:032x}")
    folder = place.parent / f"made-{number}"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    artifact = await FileSystemArtifacts(str(place)).put(training_id, folder)
    return TrainedAdapter(
        training_id=training_id,
        sha256=artifact.sha256,
        backend="default",
        rank=rank,
        base=base,
        fingerprint="f" * 64,
    )


def files_in(place: Path) -> AdapterFolder:
    """The folder of artifacts, as servers share it."""
    return AdapterFolder(FileSystemArtifacts(str(place)), place)
