"""The folder of adapters that inference servers share with the service."""

import asyncio
from pathlib import Path

import pytest

from service.artifacts.adapter_folder import AdapterFolder
from service.artifacts.file_systems import FileSystemArtifacts
from service.errors import ArtifactMissing, ArtifactsUnavailable
from service.settings import Settings
from tests.unit.scoring.trained import files_in, stored


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


async def test_artifacts_in_a_folder_are_read_where_they_are(tmp_path: Path) -> None:
    adapter = await stored(tmp_path / "artifacts")
    before = names(tmp_path)
    place = await files_in(tmp_path / "artifacts").place(adapter)
    assert place == f"{adapter.training_id}/{adapter.sha256}"
    assert names(tmp_path) == before


async def test_artifacts_elsewhere_are_copied_once_by_however_many(tmp_path: Path) -> None:
    adapter = await stored(tmp_path / "artifacts")
    store = FileSystemArtifacts((tmp_path / "artifacts").as_uri())
    folders = [AdapterFolder(store, tmp_path / "adapters") for _ in range(4)]
    [place] = set(await asyncio.gather(*(folder.place(adapter) for folder in folders)))
    assert names(tmp_path / "adapters") == [f"{place}/adapter_config.json"]
    await store.remove(adapter.training_id)
    assert await folders[0].place(adapter) == place


async def test_files_that_are_gone_or_have_changed_are_no_adapter(tmp_path: Path) -> None:
    adapter, files = await stored(tmp_path / "artifacts"), files_in(tmp_path / "artifacts")
    (tmp_path / "artifacts" / await files.place(adapter) / "another").write_text("x")
    with pytest.raises(ArtifactMissing, match="not as they were stored"):
        await files.place(adapter)
    await FileSystemArtifacts(str(tmp_path / "artifacts")).remove(adapter.training_id)
    with pytest.raises(ArtifactMissing, match="not where they were stored"):
        await files.place(adapter)


async def test_an_unusable_folder_is_an_error_with_its_reason(tmp_path: Path) -> None:
    adapter = await stored(tmp_path / "artifacts")
    (tmp_path / "file").write_text("")
    folder = AdapterFolder(FileSystemArtifacts(str(tmp_path / "artifacts")), tmp_path / "file" / "adapters")
    with pytest.raises(ArtifactsUnavailable):
        await folder.place(adapter)


@pytest.mark.parametrize(
    ("training", "folder"),
    [
        ({}, "data/artifacts"),
        ({"artifacts": "/srv/artifacts"}, "/srv/artifacts"),
        ({"artifacts": "s3://bucket/place"}, "data/adapters"),
        ({"artifacts": "s3://bucket/place", "adapters": "/srv/adapters"}, "/srv/adapters"),
    ],
)
def test_servers_share_the_folder_of_artifacts_where_there_is_one(training: dict[str, str], folder: str) -> None:
    settings = Settings.model_validate({"data_dir": "data", "training": training})
    assert str(settings.adapters_folder) == folder
