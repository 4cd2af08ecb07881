"""How many calls to keep under way at one server, found out from how it takes them.

Pure: the time is passed in, in seconds of any clock that never goes back.

The limit starts low and doubles while throughput grows by a worthwhile share, as a server does
whose batches are not full yet. Where it does not grow, the limit goes back and settles, and looks
again from time to time. A server that says it is overloaded has it halved, once for all calls that
were under way; after one round that is answered whole the limit returns to just below the number
that was too much, and later looks go up in small steps, so that a refusal costs little (the idea of
CUBIC, RFC 9438: back fast to where it broke, then carefully).
"""

import math
from dataclasses import dataclass
from enum import Enum, auto

START = 4
WORTHWHILE = 0.05  # of the throughput that would be gained if it grew with the limit
CLEARLY_WORTHWHILE = 0.25  # of the same: enough to go on after a single round
ROUNDS = 3  # that are measured before a gain is called too small
FIRST_PAUSE_SECONDS = 5.0  # until the limit looks again; doubles while looking is in vain
LONGEST_PAUSE_SECONDS = 60.0


class _Phase(Enum):
    RAISING = auto()  # the limit is above the last one known to be good
    RETURNING = auto()  # it was cut; one round without a refusal is awaited
    SETTLED = auto()


@dataclass(slots=True)
class _Window:
    """A time during which the limit stayed as it is and was used up; a round is as many answers as the limit.

    A server that takes the same time for every call answers in bursts, and within one the number of
    answers a second is still low. So `rate` is the best that was seen from the time on at which it counts.
    """

    started: float
    full: bool = False
    answered: int = 0  # calls answered since it is full
    own: int = 0  # those of them that also began in it
    rate: float = 0.0  # answers a second

    def rate_at(self, now: float) -> float:
        """Answers a second until now."""
        return self.answered / (now - self.started) if now > self.started else 0.0

    def measure(self, now: float) -> None:
        """Let the rate until now count."""
        self.rate = max(self.rate, self.rate_at(now))


@dataclass(frozen=True, slots=True)
class Begun:
    """A call under way: after how many cuts it began, and in which window."""

    cuts: int
    window: _Window | None


class AdaptiveLimit:
    """The number of calls that may be under way: from 1 to `most`.

    Whoever makes the calls says when one begins and how it ends, and when calls are too few to
    use up the limit, since throughput says nothing about it then.
    """

    def __init__(self, most: int, *, start: int = START) -> None:
        self._most = most
        self.limit = min(start, most)
        self._under_way = 0
        self._phase = _Phase.RAISING
        self._base = self.limit  # the last limit known to be good
        self._base_window: _Window | None = None  # in which its throughput was measured
        self._base_rounds = 0  # for so long
        self._step = self.limit
        self._held: int | None = None  # how many the server went on with when it was last overloaded
        self._cuts = 0
        self._raised_too_far = False  # whether the last cut only took back what was tried above a good limit
        self._window: _Window | None = None
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._look_at = 0.0

    def begin(self, now: float, *, measured: bool = True) -> Begun:
        """A call begins; not `measured`: one of another sort, whose end says nothing of throughput."""
        self._under_way += 1
        if self._window is None:
            self._window = _Window(now)
        if not self._window.full:
            self._window.started = now
            self._window.full = self._under_way >= self.limit
        return Begun(self._cuts, self._window if measured else None)

    def answered(self, call: Begun, now: float) -> None:
        """A call was answered."""
        self._under_way -= 1
        window, base = self._window, self._base_window
        if base is not None and call.window is base is not window:  # the end of the burst by which it was judged
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

    def overloaded(self, call: Begun) -> None:
        """The server refused a call because it had too much to do."""
        self._under_way -= 1
        if call.cuts == self._cuts:
            self._cut(held=self._under_way)
        elif self._held is not None and call.cuts == self._cuts - 1:  # of those that were too much then
            self._held = min(self._held, self._under_way)

    def timed_out(self, call: Begun) -> None:
        """No answer came in time. The limit stays cut until a look: more calls would wait longer still."""
        self._under_way -= 1
        if call.cuts == self._cuts:
            self._cut(held=0)

    def dropped(self, call: Begun) -> None:
        """A call ended in a way that says nothing of the load."""
        del call
        self._under_way -= 1

    def unused(self) -> None:
        """There are fewer calls than the limit allows, or none may begin."""
        self._window = None

    def _cut(self, *, held: int) -> None:
        """To half; where the limit was only tried, to what it was before, which is half or more."""
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
        """Whether the window has been measured long enough, over a whole round lest it end within a burst."""
        if window.answered >= ROUNDS * self.limit:
            window.measure(now)
        return window.answered >= (ROUNDS + 1) * self.limit

    def _judge(self, window: _Window, now: float) -> None:
        """Go up, wait for more rounds, or go back to what was good."""
        if self._base_window is None:  # the first round of all
            self._accept(window, now)
        elif self.limit < min(2 * self._base, self._most):  # small steps: no gain to be seen, but no refusal either
            self._raise(2 * self._step)
        else:
            measured = self._measured(window, now)
            if self._gain(window.rate_at(now)) >= CLEARLY_WORTHWHILE or self._gain(window.rate) >= WORTHWHILE:
                self._accept(window, now)
            elif measured:
                self._go_back(now)

    def _gain(self, rate: float) -> float:
        """The gain over the last good limit, as a share of what it would be if throughput grew with the limit."""
        base = self._base_window.rate if self._base_window else 0.0
        return (rate / base - 1) / (self.limit / self._base - 1) if base else math.inf

    def _go_back(self, now: float) -> None:
        """To the last good limit; if its throughput was measured hastily, do that again and compare once more."""
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
        """Back to as many as the server went on with, which is just below what was too much."""
        self.limit = self._base = min(max(self.limit, self._held or 0), self._most)
        self._settle(now, in_vain=self._raised_too_far)

    def _settle(self, now: float, *, in_vain: bool) -> None:
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS) if in_vain else FIRST_PAUSE_SECONDS
        self._look_at = now + self._pause_seconds
        self._phase, self._window = _Phase.SETTLED, None
