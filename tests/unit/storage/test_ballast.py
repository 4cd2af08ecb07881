import stat
from pathlib import Path

import pytest

from icm.local_stack.disk_reserve import AMPLE_ROOM_BYTES, MIB, DiskReserve


def reserve(folder: Path, room_bytes: int, size_bytes: int = MIB) -> DiskReserve:
    return DiskReserve(folder, size_bytes=size_bytes, room_on=lambda _: room_bytes)


def test_it_takes_up_the_room_that_it_gives_back(tmp_path: Path) -> None:
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
def test_it_is_not_laid_where_room_is_scarce_or_none_is_wanted(
    tmp_path: Path, room_bytes: int, size_bytes: int
) -> None:
    assert not reserve(tmp_path, room_bytes, size_bytes).lay()
    assert list(tmp_path.iterdir()) == []


def test_what_finds_no_room_half_way_is_taken_away_again(tmp_path: Path) -> None:
    (tmp_path / "ballast.unfinished").symlink_to("/dev/full")
    assert not reserve(tmp_path, 10 * AMPLE_ROOM_BYTES).lay()
    assert list(tmp_path.iterdir()) == []
