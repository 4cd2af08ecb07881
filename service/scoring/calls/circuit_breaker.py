"""A circuit breaker: stops calls to a server that does not answer, and tries one now and then until it does.

Pure: callers pass in the time, in seconds of any monotonic clock.
"""

import math

FAILURES_TO_OPEN = 5
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0


class CircuitBreaker:
    """Decides whether a call may begin. Closed: yes. Open: no, until a pause is over; then one call as a trial.

    Several failures in a row open the circuit, and so does `trip`. A failed trial doubles the pause; any
    answer closes the circuit. `failing_since` is the time of the first failure since the last answer, None
    if the last call was answered.
    """

    def __init__(self) -> None:
        self._failures = 0  # in a row
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._closed_until_trial: float | None = None  # when a trial is due; None while the circuit is closed
        self._trying = False
        self.failing_since: float | None = None
        self.answered_at = -math.inf

    @property
    def closed(self) -> bool:
        """Whether calls go through."""
        return self._closed_until_trial is None

    @property
    def trial_under_way(self) -> bool:
        """Whether a trial is under way."""
        return self._trying

    def wait_seconds(self, now: float) -> float:
        """The time until a call may begin; infinite while a trial is under way."""
        if self._closed_until_trial is None:
            return 0.0
        return math.inf if self._trying else max(0.0, self._closed_until_trial - now)

    def outage_seconds(self, now: float) -> float:
        """The duration of the current outage; 0 if the last call was answered."""
        return 0.0 if self.failing_since is None else now - self.failing_since

    def start_call(self) -> bool:
        """Start a call that `wait_seconds` allows; return True if it is the half-open trial."""
        self._trying = not self.closed
        return self._trying

    def answered(self, now: float) -> None:
        """Record an answer, be it a refusal: the server is up."""
        self.answered_at = now
        self.failing_since = None
        self._close()

    def overloaded(self, now: float) -> None:
        """Record that the server refused a call because of load: the server is up, but the outage clock runs."""
        if self.failing_since is None:
            self.failing_since = now
        self._close()

    def failed(self, now: float, *, trial: bool, retry_after_seconds: float | None = None) -> None:
        """Record a failure that may mean an outage; in an open circuit only a failed trial prolongs the pause."""
        if self.failing_since is None:
            self.failing_since = now
        self._failures += 1
        trial = trial and self._trying  # a late answer may have closed the circuit in the meantime
        if trial:
            self._trying = False
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
        if trial or (self.closed and self._failures >= FAILURES_TO_OPEN):
            requested = min(retry_after_seconds or 0.0, LONGEST_PAUSE_SECONDS)
            self._closed_until_trial = now + max(self._pause_seconds, requested)

    def abandoned(self, *, trial: bool) -> None:
        """Record a call that ended without an outcome; if it was the trial, the next call may take its place."""
        if trial:
            self._trying = False

    def trip(self, now: float) -> None:
        """Open the circuit, whatever the number of failures."""
        if self.closed:
            self._closed_until_trial = now + self._pause_seconds

    def idle(self) -> None:
        """Record that no call is left: if the circuit is closed, forget the failures so far."""
        if self.closed:
            self.failing_since = None
            self._failures = 0

    def _close(self) -> None:
        self._failures = 0
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._closed_until_trial = None
        self._trying = False
