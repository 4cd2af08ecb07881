"""Adapts the number of concurrent calls to one server by its throughput and its refusals.

Pure: callers pass in the time, in seconds of any monotonic clock.

The limit starts low and doubles as long as that raises throughput by a worthwhile share: the server's
batches are then not full yet. Once throughput no longer grows, the limit returns to its last good value,
settles, and probes a higher value from time to time. If the server says it is overloaded, the limit
halves, once for all calls in flight. After one full round without a refusal it returns to just below the
number that overloaded the server. Later probes go up in small steps, so that a refusal costs little (the
idea of CUBIC, RFC 9438: return fast to the point of congestion, then proceed carefully).
"""

import math
from dataclasses import dataclass
from enum import Enum, auto

START = 4
WORTHWHILE = 0.05  # share of the gain in throughput that would be proportional to the limit
CLEARLY_WORTHWHILE = 0.25  # share of the same gain that suffices after a single round
ROUNDS = 3  # rounds to measure before a gain counts as too small
FIRST_PAUSE_SECONDS = 5.0  # until the next probe of a higher limit; doubles after each probe in vain
LONGEST_PAUSE_SECONDS = 60.0


class _Phase(Enum):
    RAISING = auto()  # the limit is above the last good one
    RETURNING = auto()  # the limit was cut, and awaits one round without a refusal
    SETTLED = auto()


@dataclass(slots=True)
class _Window:
    """A measurement of throughput while the limit is constant and fully used; a round is `limit` answers.

    A server that takes the same time for every call answers in bursts, and in the middle of a burst the
    rate is still low. So `rate` is the highest rate of all calls to `measure`.
    """

    started: float
    full: bool = False
    answered: int = 0  # calls answered since the limit was fully used
    own: int = 0  # of these, the calls that also began in this window
    rate: float = 0.0  # answers a second

    def rate_at(self, now: float) -> float:
        """Answers per second until now."""
        return self.answered / (now - self.started) if now > self.started else 0.0

    def measure(self, now: float) -> None:
        """Take the rate until now into account."""
        self.rate = max(self.rate, self.rate_at(now))


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call in flight: the number of cuts before it began, and the window in which it began."""

    cuts: int
    window: _Window | None


class AdaptiveLimit:
    """The number of calls that may be in flight, from 1 to `most`.

    The caller reports when a call begins and how it ends. It also reports when there are too few calls to
    use the limit fully, since throughput then says nothing about the limit.
    """

    def __init__(self, most: int, *, start: int = START) -> None:
        self._most = most
        self.limit = min(start, most)
        self._under_way = 0
        self._phase = _Phase.RAISING
        self._base = self.limit  # the last limit known to be good
        self._base_window: _Window | None = None  # the measurement of its throughput
        self._base_rounds = 0  # the length of that measurement
        self._step = self.limit
        self._held: int | None = None  # calls that the server kept working on when it was last overloaded
        self._cuts = 0
        self._raised_too_far = False  # whether the last cut only undid a raise above a good limit
        self._window: _Window | None = None
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._look_at = 0.0

    def begin(self, now: float, *, measured: bool = True) -> CallStart:
        """Record the begin of a call; `measured=False` for calls whose answers say nothing about throughput."""
        self._under_way += 1
        if self._window is None:
            self._window = _Window(now)
        if not self._window.full:
            self._window.started = now
            self._window.full = self._under_way >= self.limit
        return CallStart(self._cuts, self._window if measured else None)

    def answered(self, call: CallStart, now: float) -> None:
        """Record an answer."""
        self._under_way -= 1
        window, base = self._window, self._base_window
        # The end of the burst that measured the last good limit comes after the limit has been raised.
        if base is not None and call.window is base is not window:
            base.answered += 1
            base.measure(now)
        if window is None or call.window is None:
            return
        if not window.full:
            self._window = None
            return
        window.answered += 1
        window.own += call.window is window
        if (window.own if self._phase is _Phase.RETURNING else window.answered) >= self.limit:
            self._round_over(window, now)

    def overloaded(self, call: CallStart) -> None:
        """Record that the server refused a call because of load."""
        self._under_way -= 1
        if call.cuts == self._cuts:
            self._cut(held=self._under_way)
        elif self._held is not None and call.cuts == self._cuts - 1:  # a call of the same overload
            self._held = min(self._held, self._under_way)

    def timed_out(self, call: CallStart) -> None:
        """Record a time-out. The limit stays cut until the next probe: more calls would wait even longer."""
        self._under_way -= 1
        if call.cuts == self._cuts:
            self._cut(held=0)

    def dropped(self) -> None:
        """Record a call that ended in a way that says nothing about load."""
        self._under_way -= 1

    def unused(self) -> None:
        """Record that the limit is not fully used: too few calls wait, or none may begin."""
        self._window = None

    def _cut(self, *, held: int) -> None:
        """Halve the limit; during a raise, return to the last good limit instead, which is at least half."""
        self._raised_too_far = self.limit > self._base
        self.limit = self._base = self._base if self._raised_too_far else max(1, self.limit // 2)
        self._base_window, self._held = None, held
        self._cuts += 1
        self._phase, self._window = _Phase.RETURNING, None

    def _round_over(self, window: _Window, now: float) -> None:
        if self._phase is _Phase.RAISING:
            self._judge(window, now)
        elif self._phase is _Phase.RETURNING:
            self._return(now)
        elif now < self._look_at or self._base == self._most:
            self._window = None
        elif self._measured(window, now):
            self._base_window, self._base_rounds = window, ROUNDS
            self._raise(self._base if self._held is None else 1)

    def _measured(self, window: _Window, now: float) -> bool:
        """Whether the measurement is long enough; it covers a further round, so as not to end within a burst."""
        if window.answered >= ROUNDS * self.limit:
            window.measure(now)
        return window.answered >= (ROUNDS + 1) * self.limit

    def _judge(self, window: _Window, now: float) -> None:
        """Raise the limit further, wait for more rounds, or return to the last good limit."""
        if self._base_window is None:  # the first round of all
            self._accept(window, now)
        elif self.limit < min(2 * self._base, self._most):  # a small step shows no gain, but also met no refusal
            self._raise(2 * self._step)
        else:
            measured = self._measured(window, now)
            if self._gain(window.rate_at(now)) >= CLEARLY_WORTHWHILE or self._gain(window.rate) >= WORTHWHILE:
                self._accept(window, now)
            elif measured:
                self._go_back(now)

    def _gain(self, rate: float) -> float:
        """The gain in throughput over the last good limit, as a share of the gain in the limit itself."""
        base = self._base_window.rate if self._base_window else 0.0
        return (rate / base - 1) / (self.limit / self._base - 1) if base else math.inf

    def _go_back(self, now: float) -> None:
        """Return to the last good limit; if its measurement was short, probe again at once to repeat the comparison."""
        self.limit = self._base
        if self._base_rounds >= ROUNDS:
            self._settle(now, in_vain=True)
        else:
            self._phase, self._window, self._look_at = _Phase.SETTLED, None, now

    def _accept(self, window: _Window, now: float) -> None:
        window.measure(now)
        self._base_window, self._base_rounds = window, window.answered // self.limit
        self._base, self._held = self.limit, None
        if self.limit < self._most:
            self._raise(self.limit)
        else:
            self._settle(now, in_vain=False)

    def _raise(self, step: int) -> None:
        self._step = step
        self.limit = min(self.limit + step, self._most)
        self._phase, self._window = _Phase.RAISING, None

    def _return(self, now: float) -> None:
        """Return to the number of calls that the server kept working on, just below the number that overloaded it."""
        self.limit = self._base = min(max(self.limit, self._held or 0), self._most)
        self._settle(now, in_vain=self._raised_too_far)

    def _settle(self, now: float, *, in_vain: bool) -> None:
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS) if in_vain else FIRST_PAUSE_SECONDS
        self._look_at = now + self._pause_seconds
        self._phase, self._window = _Phase.SETTLED, None
