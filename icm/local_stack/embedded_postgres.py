"""A private Postgres server for laptops, the demo and tests, started from the binaries of the `embedded` extra.

It listens on a Unix socket in a folder that only its owner may enter, requires a password all the same, and ends
when this process ends in whatever way.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from icm.local_stack.postgres_binaries import EmbeddedPostgresError, postgres_programs, server_user
from icm.local_stack.supervisor import end_with_parent

SUPERUSER = "app"
START_SECONDS = 60.0  # recovery after a crash included
STOP_SECONDS = 30.0
_POLL_SECONDS = 0.02
_PORT = 5432  # names the socket; nothing listens on the network
_LONGEST_SOCKET_PATH = 100  # bytes, with some room below the system's limit
_READY_LINE = 7  # of postmaster.pid, counted from 0
_SOCKET_FOLDER_LINE = 4
_SYSTEM_FOLDER = Path("/var/lib/icm")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_ORDERLY = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)  # fast shutdown, immediate shutdown, the end
_ABRUPT = (signal.SIGQUIT, signal.SIGKILL)  # without a checkpoint; the next start recovers
_NO_ROOM = ("No space left on device", "Disk quota exceeded")  # as the server's log has it, in the C locale
_ORPHANS = "shared memory block"  # processes of a killed server are still running: the next one must wait
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def reachable_root(wished: Path) -> Path:
    """Return the wished folder, or one under /var/lib/icm if the server's user cannot reach it.

    Use it for default folders only: a folder that the user named is used or refused.
    """
    user = server_user()
    if user is None or user.reaches(wished):
        return wished
    name = sha256(str(wished.resolve()).encode()).hexdigest()[:12]
    return _SYSTEM_FOLDER / name


def running_url(root: Path) -> str | None:
    """The URL of the server that another process runs over this folder; None if none runs."""
    root = root.absolute()
    pid_lines = _pid_lines(root)
    if len(pid_lines) <= _READY_LINE or not _serves(int(pid_lines[0]), root / "data"):
        return None
    return _url(root, Path(pid_lines[_SOCKET_FOLDER_LINE]))


class EmbeddedPostgres:
    """One server over one folder, for one process at a time.

    `root` holds `data`, `run` and the password; starting creates it. `durable=False`
    trades safety against power failure for speed, as tests may. Start it from the main
    thread: the server ends with the thread that started it.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self._root = root.absolute()
        self._durable = durable
        self._user = server_user()
        self._identity: dict[str, Any] = {}  # subprocess's arguments for a change of user
        if self._user is not None:
            self._identity = {"user": self._user.uid, "group": self._user.gid, "extra_groups": []}
        self._server: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._log_start: int | None = None  # where the log of the present run begins
        self._socket_folder = self._root / "run"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL to connect to, with the password; valid once started."""
        return _url(self._root, self._socket_folder)

    def start(self) -> None:
        """Initialise a new server, and start it. Raises EmbeddedPostgresError."""
        if threading.current_thread() is not threading.main_thread():
            raise EmbeddedPostgresError("start the embedded Postgres from the main thread; it ends with its thread")
        self._make_folders()
        self._take_lock()
        try:
            programs = postgres_programs(self._user, self._root / "programs")
            self._end_leftover_server()
            self._initialize(programs)
            self._run_until_ready(programs)
        except BaseException:
            self.stop()
            raise

    def restart(self) -> None:
        """Restart a dead server without waiting for its recovery; `is_ready` reports that.

        Folder, socket and password stay. Raises EmbeddedPostgresError.
        """
        self._end_leftover_server()
        self._server = self._spawn(postgres_programs(self._user, self._root / "programs"))

    def stop(self) -> None:
        """End every connection and the server; do nothing if it does not run."""
        if self._server is not None:
            _end(self._server, _ORDERLY if self._durable else _ABRUPT)
            self._server = None
        if self._socket_folder.parent != self._root:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = self._root / "run"
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def failure(self) -> str | None:
        """The reason of an unexpected end of the server; None while it runs."""
        if self._server is None or self._server.poll() is None:
            return None
        return f"the embedded Postgres ended with status {self._server.returncode}: {self._end_of_log()}"

    def is_ready(self) -> bool:
        """Whether the server accepts connections; the file that says so may still be its predecessor's."""
        if self._server is None or self._server.poll() is not None:
            return False
        lines = _pid_lines(self._root)
        return len(lines) > _READY_LINE and lines[0] == str(self._server.pid) and lines[_READY_LINE].strip() == "ready"

    def ran_out_of_disk(self) -> bool:
        """Whether the log of this run reports a full disk.

        The log lies on the same disk, so silence proves nothing.
        """
        log = self._log_of_this_run()
        return any(words in log for words in _NO_ROOM)

    def _make_folders(self) -> None:
        if self._user is not None and (barrier := self._user.barrier(self._root)) is not None:
            raise EmbeddedPostgresError(
                f"{self._root}: Postgres does not run as root, and the user it would run as cannot enter {barrier};"
                " choose a folder outside it, or give a database URL"
            )
        made = not self._root.exists()
        self._root.mkdir(parents=True, exist_ok=True)
        if made:
            self._root.chmod(0o700)
            self._hand_over(self._root)
        elif self._user is not None and not self._user.reaches(self._root / "data"):
            raise EmbeddedPostgresError(f"{self._root}: the user Postgres runs as cannot enter this folder")
        self._make_private(self._root / "run")
        self._choose_socket_folder()

    def _choose_socket_folder(self) -> None:
        longest = f"{self._root / 'run'}/.s.PGSQL.{_PORT}.lock"
        if len(os.fsencode(longest)) > _LONGEST_SOCKET_PATH:
            self._socket_folder = Path(tempfile.mkdtemp(prefix="icm-postgres-"))
            self._hand_over(self._socket_folder)

    def _make_private(self, folder: Path) -> None:
        if not folder.exists():
            folder.mkdir(mode=0o700)
            self._hand_over(folder)

    def _hand_over(self, path: Path) -> None:
        if self._user is not None:
            self._user.receive(path)

    def _take_lock(self) -> None:
        self._lock = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise EmbeddedPostgresError(f"{self._root}: another process uses this folder") from None

    def _end_leftover_server(self) -> None:
        """Handle the leftovers of a killed predecessor: its server, or only its process id file.

        The number in the file may belong to any process by now, for example after a restart of a
        container, so this method checks the process. It leaves the file of a dead process to
        Postgres: a new server reads from it that children of the old one are still running, and
        that it must not touch their data.
        """
        lines = _pid_lines(self._root)
        if not lines:
            return
        pid = int(lines[0])
        deadline = time.monotonic() + STOP_SECONDS
        while _serves(pid, self._root / "data"):
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"{self._root}: the server of an earlier run (process {pid}) does not end")
            os.kill(pid, signal.SIGINT)
            time.sleep(_POLL_SECONDS)
        if _command_line(pid):
            _pid_file(self._root).unlink(missing_ok=True)

    def _initialize(self, programs: Path) -> None:
        """Create a database cluster, under another name until it is complete."""
        data, unfinished = self._root / "data", self._root / "data.unfinished"
        if data.exists():
            return
        shutil.rmtree(unfinished, ignore_errors=True)
        self._make_private(unfinished)
        password = self._root / "password"
        password.write_text(secrets.token_hex(24), encoding="ascii")
        password.chmod(0o600)
        self._hand_over(password)
        command = [str(programs / "initdb"), "-D", str(unfinished), "-U", SUPERUSER, f"--pwfile={password}"]
        command += ["--auth=scram-sha-256", "-E", "UTF8", "--locale=C", "-k", *([] if self._durable else ["-N"])]
        done = subprocess.run(  # noqa: S603 - our own program and arguments
            command,
            cwd="/",
            env=_ENVIRONMENT,
            capture_output=True,
            check=False,
            **self._identity,
        )
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed: {done.stderr.decode(errors='replace').strip()}")
        unfinished.rename(data)

    def _spawn(self, programs: Path) -> subprocess.Popen[bytes]:
        options = [
            "listen_addresses=",
            f"port={_PORT}",
            f"unix_socket_directories={self._socket_folder}",
            "unix_socket_permissions=0700",
            *(() if self._durable else _FAST),
        ]
        command = [str(programs / "postgres"), "-D", str(self._root / "data")]
        for option in options:
            command += ["-c", option]
        with (self._root / "postgres.log").open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(  # noqa: S603 - our own program and arguments
                command,
                cwd="/",
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is for us; we stop the server ourselves
                preexec_fn=end_with_parent(signal.SIGINT),  # noqa: PLW1509 - one system call, prepared before the fork
                **self._identity,
            )

    def _run_until_ready(self, programs: Path) -> None:
        """Start the server and wait for it; retry while children of a killed one are still running."""
        self._server = self._spawn(programs)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if (failure := self.failure()) is not None:
                if _ORPHANS not in self._log_of_this_run():
                    raise EmbeddedPostgresError(failure)
                self._server = self._spawn(programs)
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"the embedded Postgres is not ready after {START_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)

    def _end_of_log(self) -> str:
        return " / ".join(self._log_of_this_run().splitlines()[-5:])

    def _log_of_this_run(self) -> str:
        if self._log_start is None:
            return ""
        with (self._root / "postgres.log").open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")


def _end(server: subprocess.Popen[bytes], ways: tuple[signal.Signals, ...]) -> None:
    """Stop the server by these signals, until one works."""
    for how in ways:
        if server.poll() is not None:
            return
        server.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)


def _url(root: Path, socket_folder: Path) -> str:
    password = (root / "password").read_text(encoding="ascii")
    return (
        f"postgresql+asyncpg://{SUPERUSER}:{password}@/postgres?host={quote(str(socket_folder), safe='/')}&port={_PORT}"
    )


def _pid_file(root: Path) -> Path:
    return root / "data" / "postmaster.pid"


def _pid_lines(root: Path) -> list[str]:
    """The lines of the file by which a server says that it runs over this folder; none without the file."""
    try:
        return _pid_file(root).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []


def _serves(pid: int, data: Path) -> bool:
    """Whether this process is a Postgres server over this folder."""
    command = _command_line(pid)
    return bool(command) and Path(command[0]).name.startswith("postgres") and str(data) in command


def _command_line(pid: int) -> list[str]:
    """A process's program and arguments; empty if there is no such process."""
    if Path("/proc").is_dir():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0").split("\0")
        except OSError:
            return []
    listing = subprocess.run(  # noqa: S603 - a system program and a number
        ["/bin/ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False
    )
    return listing.stdout.split()
