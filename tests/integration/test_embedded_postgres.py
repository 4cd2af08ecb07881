import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy import make_url

from icm.local_stack.embedded_postgres import EmbeddedPostgres, reachable_root
from icm.local_stack.postgres_binaries import EmbeddedPostgresError, ServerUser, postgres_programs
from service.storage.engine import driver_address

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
NOBODY = ServerUser(uid=65534, gid=65534)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder yet to be made where the server's user may enter, which pytest's own are not."""
    path = Path(tempfile.gettempdir()) / f"icm-test-{uuid.uuid4().hex[:12]}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def running(shared_folder: Path) -> Iterator[tuple[Path, EmbeddedPostgres]]:
    """A server that tests read and do not change, and its folder."""
    with EmbeddedPostgres(shared_folder, durable=False) as server:
        yield shared_folder, server


async def query(url: str, statement: str) -> object:
    address = driver_address(url)
    connection = await asyncpg.connect(address)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def server_process(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split("\n")[0])


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def is_gone(path: Path) -> bool:
    return not path.exists()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.02)


async def test_data_survives_a_restart_and_the_server_being_killed(ready_folder: Path) -> None:
    with EmbeddedPostgres(ready_folder) as server:
        await query(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedPostgres(ready_folder) as server:
        assert await query(server.url, "SELECT answer FROM kept") == 42
        os.kill(server_process(ready_folder), signal.SIGKILL)
        until(lambda: server.failure() is not None)
        assert "ended with status -9" in str(server.failure())
    with EmbeddedPostgres(ready_folder) as server:
        assert server.failure() is None
        assert await query(server.url, "SELECT answer FROM kept") == 42


async def test_a_stale_pid_file_with_another_processs_number_is_recognised(ready_folder: Path) -> None:
    with EmbeddedPostgres(ready_folder, durable=False):
        written = (ready_folder / "data" / "postmaster.pid").read_text()
    (ready_folder / "data" / "postmaster.pid").write_text(written.replace(written.split("\n")[0], str(os.getpid()), 1))
    with EmbeddedPostgres(ready_folder, durable=False) as server:
        assert await query(server.url, "SELECT 1") == 1


def test_the_folder_and_the_socket_are_closed_to_others_and_nothing_listens_on_the_network(
    running: tuple[Path, EmbeddedPostgres],
) -> None:
    folder, _ = running
    modes = {path.name: mode(path) for path in (folder, *folder.iterdir())}
    command = psutil.Process(server_process(folder)).cmdline()
    assert {name: mode & 0o077 for name, mode in modes.items() if name != "postgres.log"} == dict.fromkeys(
        (folder.name, "data", "run", "password", "lock"), 0
    )
    assert "listen_addresses=" in command


async def test_nobody_gets_in_without_the_password(running: tuple[Path, EmbeddedPostgres]) -> None:
    _, server = running
    with pytest.raises(asyncpg.InvalidPasswordError):
        await query(make_url(server.url).set(password="guess").render_as_string(hide_password=False), "SELECT 1")


def test_two_cannot_use_one_folder(running: tuple[Path, EmbeddedPostgres]) -> None:
    folder, first = running
    with pytest.raises(EmbeddedPostgresError, match="another process uses"):
        EmbeddedPostgres(folder, durable=False).start()
    assert first.failure() is None


def test_the_server_ends_with_a_parent_that_is_killed(ready_folder: Path) -> None:
    script = (
        "import pathlib, sys, time; from icm.local_stack.embedded_postgres import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False); server.start()\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", script, str(ready_folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        server = server_process(ready_folder)
        assert is_alive(server)
        parent.kill()
    until(lambda: not is_alive(server))


def test_a_server_left_behind_is_ended_before_the_next_one_starts(ready_folder: Path) -> None:
    first = EmbeddedPostgres(ready_folder, durable=False)
    first.start()
    left_behind = server_process(ready_folder)
    os.close(first._lock or -1)  # as if the process had ended without its server
    first._lock = None
    with EmbeddedPostgres(ready_folder, durable=False):
        assert server_process(ready_folder) != left_behind
        until(lambda: first.failure() is not None)
    first.stop()


def test_it_is_started_from_the_main_thread_only(folder: Path) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            EmbeddedPostgres(folder).start()
        except EmbeddedPostgresError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert "main thread" in str(errors)
    assert not folder.exists()


async def test_a_long_path_gets_its_socket_elsewhere(folder: Path, ready_folder: Path) -> None:
    deep = folder / ("x" * 60) / ("y" * 60)
    deep.parent.mkdir(parents=True)
    shutil.move(ready_folder, deep)
    with EmbeddedPostgres(deep, durable=False) as server:
        elsewhere = Path(str(make_url(server.url).query["host"]))
        assert mode(elsewhere) == 0o700
        assert await query(server.url, "SELECT 1") == 1
    assert is_gone(elsewhere)


def test_a_folder_out_of_the_users_reach_is_refused_and_left_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icm.local_stack.embedded_postgres.server_user", lambda: NOBODY)
    folder.mkdir(mode=0o700)
    with pytest.raises(EmbeddedPostgresError, match=f"cannot enter {folder}"):
        EmbeddedPostgres(folder / "inner").start()
    assert mode(folder) == 0o700
    assert list(folder.iterdir()) == []


def test_a_default_folder_out_of_reach_is_replaced_by_one_in_reach(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("icm.local_stack.embedded_postgres.server_user", lambda: NOBODY)
    folder.mkdir(mode=0o700)
    chosen = reachable_root(folder / "inner")
    assert chosen != folder / "inner"
    assert chosen == reachable_root(folder / "inner")
    assert reachable_root(folder.parent / "other") == folder.parent / "other"


def test_programs_out_of_the_users_reach_are_copied_and_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerUser, "reaches", lambda self, path: False)
    folder.mkdir()
    programs = postgres_programs(NOBODY, folder / "programs")
    assert programs == postgres_programs(NOBODY, folder / "programs")
    assert programs.is_relative_to(folder)
    for program in ("initdb", "postgres"):
        version = subprocess.run([programs / program, "--version"], check=True, capture_output=True, text=True)
        assert version.stdout.startswith(program)
