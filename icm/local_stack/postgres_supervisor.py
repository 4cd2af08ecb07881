"""Keep the embedded Postgres running: restart it after a death, and make room on a full disk."""

import time
from collections.abc import Callable

from icm.local_stack.disk_reserve import AMPLE_ROOM_BYTES, LITTLE_ROOM_BYTES, MIB, DiskReserve
from icm.local_stack.embedded_postgres import EmbeddedPostgres
from icm.local_stack.postgres_binaries import EmbeddedPostgresError
from icm.local_stack.supervisor import PartFailed

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
MOST_DEATHS = 20  # in a row; with the pauses between them this takes more than a minute
SETTLED_SECONDS = 30.0  # a server that ran longer than this dies for a new reason
LOOK_SECONDS = 5.0  # between two looks at the disk

Say = Callable[[str], None]


class PostgresSupervisor:
    """Supervise one embedded server and its disk reserve. Call `check` often, from the main thread.

    `say` gets a line for the operator about every important change.
    """

    def __init__(
        self, postgres: EmbeddedPostgres, reserve: DiskReserve, say: Say, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._postgres = postgres
        self._reserve = reserve
        self._say = say
        self._clock = clock
        self._started = self._died = clock()
        self._deaths = 0
        self._due: float | None = None  # when to restart a dead server
        self._is_back = True
        self._has_reported_full_disk = False
        self._disk_is_full = False
        self._next_look = clock()

    @property
    def url(self) -> str:
        """The URL to connect to, with the password; valid once started, and the same after every restart."""
        return self._postgres.url

    def start(self) -> None:
        """Start the server and wait for it; drop the disk reserve if necessary. Raises EmbeddedPostgresError."""
        try:
            self._postgres.start()
        except EmbeddedPostgresError:
            if not self._postgres.ran_out_of_disk() or not self._reserve.drop():
                raise
            self._say(f"the disk is full: Postgres gets the {self._reserve.size_bytes // MIB} MiB of the disk reserve")
            self._postgres.start()
        self._started = self._clock()

    def check(self) -> None:
        """Restart the server if it is time. Raises PartFailed if it dies too often with room on its disk."""
        failure = self._postgres.failure()
        if failure is None:
            self._look_after()
        elif self._due is None:
            self._plan(failure)
        elif self._clock() >= self._due:
            self._restart()

    def _plan(self, failure: str) -> None:
        """Decide when to restart a server that has just died."""
        now = self._clock()
        if self._is_back:
            self._died, self._is_back = now, False
        if now - self._started > SETTLED_SECONDS:
            self._deaths = 0
        if self._reserve.free_bytes < LITTLE_ROOM_BYTES or self._postgres.ran_out_of_disk():
            self._due = now + self._make_room()
            return
        self._deaths += 1
        if self._deaths > MOST_DEATHS:
            raise PartFailed("postgres", "died too often in a row", failure)
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** (self._deaths - 1), LONGEST_PAUSE_SECONDS)
        what, _, _ = failure.partition(":")  # the rest is its log, which stays in its file
        self._say(f"{what}; it restarts in {pause:g} s")
        self._due = now + pause

    def _make_room(self) -> float:
        """Drop the disk reserve after a death of a full disk; return the seconds until the next try, without limit."""
        dropped = self._reserve.drop()
        if dropped:
            self._say(
                "the disk is full and the embedded Postgres has ended:"
                f" it gets the {self._reserve.size_bytes // MIB} MiB of the disk reserve; make room soon"
            )
        elif not self._has_reported_full_disk:
            self._has_reported_full_disk = True
            self._say("the disk is full and the embedded Postgres has ended: it restarts once there is room")
        self._disk_is_full = True
        return FIRST_PAUSE_SECONDS if dropped else LONGEST_PAUSE_SECONDS

    def _restart(self) -> None:
        self._due = None
        self._started = self._clock()
        try:
            self._postgres.restart()
        except (EmbeddedPostgresError, OSError) as error:
            self._say(
                f"the embedded Postgres does not start: {error}"
            )  # it is still dead, so the next check plans another restart

    def _look_after(self) -> None:
        now = self._clock()
        if not self._is_back and self._postgres.is_ready():
            self._is_back, self._has_reported_full_disk = True, False
            self._say(f"the embedded Postgres runs again after {now - self._died:.1f} s")
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._look_at_disk()

    def _look_at_disk(self) -> None:
        free = self._reserve.free_bytes
        if free < LITTLE_ROOM_BYTES and not self._disk_is_full:
            self._disk_is_full = True
            self._say(f"the disk of the embedded Postgres is full: {free // MIB} MiB are left; jobs wait for room")
        if free > AMPLE_ROOM_BYTES and self._disk_is_full:
            self._disk_is_full = False
            self._say("the disk has room again")
        if not self._disk_is_full and not self._reserve.is_laid() and self._reserve.lay():
            self._say(f"the disk reserve keeps {self._reserve.size_bytes // MIB} MiB for the embedded Postgres")
