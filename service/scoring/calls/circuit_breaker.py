"""A circuit breaker: leaves a server alone that does not answer, and finds out when it is back.

Pure: the time is passed in, in seconds of any clock that never goes back.
"""

import math

FAILURES_TO_OPEN = 5
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0


class Circuit:
    """Closed: calls go through. Open: none does, until a pause is over. Then one goes as a trial.

    Several failures in a row open it, and so does `trip`. A failed trial doubles the pause; any
    answer closes the circuit. `failing_since` is when the first call failed after the last
    answer, None where the last call was answered.
    """

    def __init__(
        self,
        *,
        failures_to_open: int = FAILURES_TO_OPEN,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        self._failures_to_open = failures_to_open
        self._first_pause_seconds = first_pause_seconds
        self._longest_pause_seconds = longest_pause_seconds
        self._failures = 0  # in a row
        self._pause_seconds = first_pause_seconds
        self._closed_until_trial: float | None = None  # when a trial is due; None while the circuit is closed
        self._trying = False
        self.failing_since: float | None = None
        self.answered_at = -math.inf

    @property
    def closed(self) -> bool:
        """Whether calls go through."""
        return self._closed_until_trial is None

    @property
    def trying(self) -> bool:
        """Whether a trial is under way, which will close the circuit or not."""
        return self._trying

    def wait_seconds(self, now: float) -> float:
        """For how long no call may begin; infinite while a trial is under way."""
        if self._closed_until_trial is None:
            return 0.0
        return math.inf if self._trying else max(0.0, self._closed_until_trial - now)

    def outage_seconds(self, now: float) -> float:
        """For how long nothing has been answered."""
        return 0.0 if self.failing_since is None else now - self.failing_since

    def pass_through(self) -> bool:
        """A call begins, for which there is nothing to wait; says whether it is the trial."""
        self._trying = not self.closed
        return self._trying

    def answered(self, now: float) -> None:
        """A call was answered, be it with a refusal: the server is there."""
        self.answered_at = now
        self.failing_since = None
        self._close()

    def overloaded(self, now: float) -> None:
        """The server is there, though too many calls at once kept it from answering this one."""
        if self.failing_since is None:
            self.failing_since = now
        self._close()

    def failed(self, now: float, *, trial: bool, retry_after_seconds: float | None = None) -> None:
        """A call failed in a way that may mean an outage. Of failures during a pause only a trial's prolongs it."""
        if self.failing_since is None:
            self.failing_since = now
        self._failures += 1
        trial = trial and self._trying  # else a late answer has closed the circuit in the meantime
        if trial:
            self._trying = False
            self._pause_seconds = min(2 * self._pause_seconds, self._longest_pause_seconds)
        if trial or (self.closed and self._failures >= self._failures_to_open):
            asked = min(retry_after_seconds or 0.0, self._longest_pause_seconds)
            self._closed_until_trial = now + max(self._pause_seconds, asked)

    def abandoned(self, *, trial: bool) -> None:
        """A call ended without telling anything of the server; the next may be the trial in its place."""
        if trial:
            self._trying = False

    def trip(self, now: float) -> None:
        """Open, whatever the number of failures."""
        if self.closed:
            self._closed_until_trial = now + self._pause_seconds

    def idle(self) -> None:
        """Nobody asks any more. While calls go through, later failures have nothing to do with those so far."""
        if self.closed:
            self.failing_since = None
            self._failures = 0

    def _close(self) -> None:
        self._failures = 0
        self._pause_seconds = self._first_pause_seconds
        self._closed_until_trial = None
        self._trying = False
