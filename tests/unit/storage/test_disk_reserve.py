import stat
from pathlib import Path

import pytest

from icm.local_stack.disk_reserve import AMPLE_ROOM_BYTES, MIB, DiskReserve


def reserve(folder: Path, room_bytes: int, size_bytes: int = MIB) -> DiskReserve:
    return DiskReserve(folder, size_bytes=size_bytes, room_on=lambda _: room_bytes)


def test_the_reserve_takes_the_room_that_it_frees(tmp_path: Path) -> None:
    laid = reserve(tmp_path, MIB + AMPLE_ROOM_BYTES)
    assert laid.lay()
    [file] = tmp_path.iterdir()
    assert file.stat().st_size == MIB
    assert file.stat().st_blocks * 512 >= MIB  # no hole that takes no room
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert laid.drop()
    assert list(tmp_path.iterdir()) == []
    assert not laid.drop()


@pytest.mark.parametrize(("room_bytes", "size_bytes"), [(AMPLE_ROOM_BYTES, MIB), (10 * AMPLE_ROOM_BYTES, 0)])
def test_no_reserve_is_made_if_room_is_scarce_or_none_is_wanted(
    tmp_path: Path, room_bytes: int, size_bytes: int
) -> None:
    assert not reserve(tmp_path, room_bytes, size_bytes).lay()
    assert list(tmp_path.iterdir()) == []


def test_a_reserve_that_finds_too_little_room_is_removed(tmp_path: Path) -> None:
    (tmp_path / "ballast.unfinished").symlink_to("/dev/full")
    assert not reserve(tmp_path, 10 * AMPLE_ROOM_BYTES).lay()
    assert list(tmp_path.iterdir()) == []
