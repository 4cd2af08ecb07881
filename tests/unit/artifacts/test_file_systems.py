"""Folders are stored by the hash of their content: duplicates once, and damaged ones are not returned."""

import subprocess
from pathlib import Path

import pytest

from service.artifacts.file_systems import FileSystemArtifacts
from service.errors import ArtifactMissing, ArtifactsUnavailable
from service.identifiers import JobId
from service.records.trainings import ArtifactFile

ONE, OTHER = JobId("job_1"), JobId("job_2")


def sha256sum(folder: Path) -> str:
    script = "find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    return subprocess.run(["sh", "-c", script], cwd=folder, check=True, capture_output=True, text=True).stdout.split()[
        0
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "Inner").mkdir(parents=True)
    (made / "weights").write_bytes(b"12" * 700_000)
    (made / "Inner" / "config.json").write_bytes(b"{}")
    return made


@pytest.fixture(params=["path", "url"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> FileSystemArtifacts:
    place = tmp_path / "kept"
    return FileSystemArtifacts(str(place) if request.param == "path" else place.as_uri())


async def test_an_artifact_is_named_as_sha256sum_names_its_files(artifacts: FileSystemArtifacts, folder: Path) -> None:
    stored = await artifacts.put(ONE, folder)
    assert stored.sha256 == sha256sum(folder)
    assert stored.bytes == 1_400_002
    assert await artifacts.files(ONE, stored.sha256) == [
        ArtifactFile("Inner/config.json", 2),
        ArtifactFile("weights", 1_400_000),
    ]


async def test_stored_files_come_back(artifacts: FileSystemArtifacts, folder: Path, tmp_path: Path) -> None:
    stored = await artifacts.put(ONE, folder)
    await artifacts.fetch(ONE, stored.sha256, tmp_path / "back")
    for name in ("weights", "Inner/config.json"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
        parts = [part async for part in artifacts.read(ONE, stored.sha256, name)]
        assert b"".join(parts) == (folder / name).read_bytes()


async def test_an_artifact_stored_again_after_an_interruption_is_complete(
    artifacts: FileSystemArtifacts, folder: Path, tmp_path: Path
) -> None:
    stored = await artifacts.put(ONE, folder)
    kept = tmp_path / "kept" / ONE / stored.sha256
    (kept / "weights").write_bytes(b"12")
    (kept / "Inner" / "config.json").unlink()
    assert await artifacts.put(ONE, folder) == stored
    await artifacts.fetch(ONE, stored.sha256, tmp_path / "back")


async def test_a_damaged_artifact_is_not_returned(artifacts: FileSystemArtifacts, folder: Path, tmp_path: Path) -> None:
    stored = await artifacts.put(ONE, folder)
    (tmp_path / "kept" / ONE / stored.sha256 / "Inner" / "config.json").write_bytes(b"[]")
    with pytest.raises(ArtifactMissing):
        await artifacts.fetch(ONE, stored.sha256, tmp_path / "back")
    assert not (tmp_path / "back").exists()


async def test_artifacts_are_deleted_one_by_one_or_with_their_owner(
    artifacts: FileSystemArtifacts, folder: Path
) -> None:
    first = await artifacts.put(ONE, folder)
    (folder / "weights").write_bytes(b"other")
    second = await artifacts.put(ONE, folder)
    await artifacts.put(OTHER, folder)
    assert await artifacts.stored() == {ONE: {first.sha256, second.sha256}, OTHER: {second.sha256}}
    await artifacts.remove(ONE, first.sha256)
    await artifacts.remove(ONE, first.sha256)
    assert await artifacts.stored() == {ONE: {second.sha256}, OTHER: {second.sha256}}
    await artifacts.remove(ONE)
    assert await artifacts.stored() == {OTHER: {second.sha256}}


async def test_an_unknown_artifact_is_missing(artifacts: FileSystemArtifacts, tmp_path: Path) -> None:
    for asked in (artifacts.files(ONE, "0"), artifacts.fetch(ONE, "0", tmp_path / "back")):
        with pytest.raises(ArtifactMissing):
            await asked


@pytest.mark.parametrize("place", ["s4://bucket/folder", "/dev/null/folder", "/proc/folder"])
async def test_an_unreachable_store_is_reported(place: str) -> None:
    with pytest.raises(ArtifactsUnavailable, match="cannot be reached"):
        await FileSystemArtifacts(place).stored()
