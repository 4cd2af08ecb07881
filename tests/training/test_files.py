"""Checkpoints are whole or not there; a folder's hash is that of its content; progress ends with its reader."""

import hashlib
import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from training.artifacts import content_hash
from training.errors import FolderInUse, Stopped
from training.optimisation.checkpoints import SEAL, Checkpoints
from training.optimisation.files import publish_folder, write_whole
from training.progress import Progress
from training.supervision import StopRequest, locked


def commit(checkpoints: Checkpoints, step: int) -> Path:
    checkpoints.prepare()
    staged = checkpoints.staging / "inner"
    (staged / "deep").mkdir(parents=True)
    (staged / "weights").write_bytes(b"weights %d" % step)
    (staged / "deep/state").write_bytes(b"state")
    checkpoints.commit(staged, step)
    newest = checkpoints.newest()
    assert newest is not None
    return newest


def test_the_newest_checkpoint_counts_and_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() is None
    for step in (2, 10, 9):
        commit(checkpoints, step)
    assert checkpoints.newest() == tmp_path / "step-00000010"
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000009", "step-00000010"]
    checkpoints.clear()
    assert checkpoints.newest() is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda newest: (newest / "weights").write_bytes(b"weights 3"),
        lambda newest: (newest / "weights").write_bytes(b""),
        lambda newest: (newest / "deep/state").unlink(),
        lambda newest: (newest / "more").touch(),
        lambda newest: (newest / SEAL).unlink(),
        lambda newest: (newest / SEAL).write_text("{"),
        lambda newest: (newest / SEAL).write_text("[]"),
    ],
    ids=["changed", "emptied", "missing", "added", "unsealed", "seal cut short", "seal of another form"],
)
def test_a_damaged_checkpoint_is_passed_over(damage: Callable[[Path], object], tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    before = commit(checkpoints, 1)
    damage(commit(checkpoints, 2))
    assert checkpoints.newest() == before


def test_a_half_written_checkpoint_is_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    before = commit(checkpoints, 1)
    checkpoints.prepare()
    (checkpoints.staging / "weights").write_bytes(b"half")
    assert checkpoints.newest() == before
    commit(checkpoints, 2)


def test_publishing_a_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    for content in ("one", "other"):
        staged = tmp_path / ".staged"
        staged.mkdir()
        (staged / content).touch()
        publish_folder(staged, tmp_path / "made")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["other"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"before")

    def fail(_descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"


def test_the_content_hash_is_what_sha256sum_gives(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"one")
    printed = subprocess.run(["sha256sum", "a", "b"], cwd=tmp_path, check=True, capture_output=True).stdout
    assert content_hash(tmp_path) == hashlib.sha256(printed).hexdigest()


def test_the_content_hash_notices_every_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    hashes = [content_hash(tmp_path)]
    (tmp_path / "a").write_bytes(b"onf")
    hashes.append(content_hash(tmp_path))
    (tmp_path / "a").rename(tmp_path / "b")
    hashes.append(content_hash(tmp_path))
    (tmp_path / "c").touch()
    hashes.append(content_hash(tmp_path))
    assert len(set(hashes)) == 4


def test_a_locked_folder_is_refused_until_it_is_released(tmp_path: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(FolderInUse, match="another process"), locked(tmp_path / "out"):
        raise AssertionError("locked twice")
    with locked(tmp_path / "out"):
        pass


class Gone(io.StringIO):
    """A stream whose reader has left."""

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_training_whose_supervisor_is_gone_stops() -> None:
    with pytest.raises(Stopped, match="nobody reads"):
        Progress(Gone()).tell("step")


def test_a_stop_is_raised_once_it_was_asked_for() -> None:
    stop = StopRequest()
    stop.check()
    stop.requested = True
    with pytest.raises(Stopped):
        stop.check()
