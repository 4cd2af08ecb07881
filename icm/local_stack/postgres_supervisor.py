"""Keeps the embedded Postgres running: starts it again when it has died, and makes room when its disk is full."""

import time
from collections.abc import Callable

from icm.local_stack.disk_reserve import AMPLE_ROOM_BYTES, LITTLE_ROOM_BYTES, MIB, DiskReserve
from icm.local_stack.embedded_postgres import EmbeddedPostgres
from icm.local_stack.postgres_binaries import EmbeddedPostgresError
from icm.local_stack.supervisor import PartFailed

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
MOST_DEATHS = 20  # in a row, which with the pauses between them is more than a minute
SETTLED_SECONDS = 30.0  # a server that ran for so long and dies does so for a new reason
LOOK_SECONDS = 5.0  # between two looks at the disk

Say = Callable[[str], None]


class PostgresSupervisor:
    """One embedded server and its disk reserve, if it has any. Call `check` often, from the main thread.

    `say` gets a line for whoever runs the service whenever something happens that they should know.
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
        self._due: float | None = None  # when a dead server is to be started again
        self._is_back = True
        self._is_told_to_wait = False
        self._disk_is_full = False
        self._next_look = clock()

    @property
    def url(self) -> str:
        """Where to connect, password included; valid once started, and the same after every restart."""
        return self._postgres.url

    def start(self) -> None:
        """Start the server and wait for it; the disk reserve is dropped if need be. Raises EmbeddedPostgresError."""
        try:
            self._postgres.start()
        except EmbeddedPostgresError:
            if not self._postgres.ran_out_of_disk() or not self._reserve.drop():
                raise
            self._say(f"the disk is full: {self._reserve.size_bytes // MIB} MiB kept for this are given to Postgres")
            self._postgres.start()
        self._started = self._clock()

    def check(self) -> None:
        """Do what is due. Raises PartFailed where the server dies again and again with room on its disk."""
        failure = self._postgres.failure()
        if failure is None:
            self._look_after()
        elif self._due is None:
            self._plan(failure)
        elif self._clock() >= self._due:
            self._restart()

    def _plan(self, failure: str) -> None:
        """The server has just died: decide when to start it again."""
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
            raise PartFailed("postgres", "ends again and again", failure)
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** (self._deaths - 1), LONGEST_PAUSE_SECONDS)
        what, _, _ = failure.partition(":")  # its log follows, and stays where it is
        self._say(f"{what}; it is started again in {pause:g} s")
        self._due = now + pause

    def _make_room(self) -> float:
        """The server died of a full disk: how long to wait before it is tried again, for as often as it takes."""
        dropped = self._reserve.drop()
        if dropped:
            self._say(
                "the disk is full and the embedded Postgres has ended:"
                f" {self._reserve.size_bytes // MIB} MiB kept for this are given to it; make room soon"
            )
        elif not self._is_told_to_wait:
            self._is_told_to_wait = True
            self._say("the disk is full and the embedded Postgres has ended: it goes on once there is room")
        self._disk_is_full = True
        return FIRST_PAUSE_SECONDS if dropped else LONGEST_PAUSE_SECONDS

    def _restart(self) -> None:
        self._due = None
        self._started = self._clock()
        try:
            self._postgres.restart()
        except (EmbeddedPostgresError, OSError) as error:
            self._say(f"the embedded Postgres cannot be started: {error}")  # still dead, so it is planned for again

    def _look_after(self) -> None:
        now = self._clock()
        if not self._is_back and self._postgres.is_ready():
            self._is_back, self._is_told_to_wait = True, False
            self._say(f"the embedded Postgres is back after {now - self._died:.1f} s")
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
            self._say("there is room on the disk again")
        if not self._disk_is_full and not self._reserve.is_laid() and self._reserve.lay():
            self._say(
                f"{self._reserve.size_bytes // MIB} MiB of the disk are kept in reserve for the embedded Postgres"
            )
