"""Drives calls to one server: how many are under way, and what becomes of those that fail.

What to do is decided by pure parts: `concurrency_limit.py` (how many at once), `circuit_breaker.py` (whether to
ask at all) and `retry_rules.py` (whether to ask again). This one counts, waits and asks.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import TypeVar

from opentelemetry.trace import SpanKind

from service.errors import BackendRefused, BackendUnavailable, FailureKind
from service.ports.observers import UNOBSERVED, CallObserver
from service.records.observations import CallEnd
from service.scoring.calls.circuit_breaker import Circuit
from service.scoring.calls.concurrency_limit import AdaptiveLimit, Begun
from service.scoring.calls.priority_semaphore import Slots
from service.scoring.calls.retry_rules import Attempts, Retry, decide, died, outage_error, speaks_of_absence
from service.spans import span

_Answer = TypeVar("_Answer")
_SHORTEST_SLEEP_SECONDS = 0.001  # so that a remainder that rounding left is not waited for again and again
_FAILURES_BEFORE_DOUBT = 2  # of one call, while nothing else is asked; then a control tells whose fault it is
_CONTROL_PAUSE_SECONDS = 0.5
_RETRY_AFTER_SECONDS = 5.0  # told to callers where a trial is under way and nobody knows how it ends


@dataclass(slots=True)
class _UnderWay:
    """An attempt."""

    began: float
    limit: Begun
    trial: bool


@dataclass(frozen=True, slots=True)
class _Failed:
    """An attempt that failed: when it did, when the server last answered another call, and for how long it has not."""

    error: BackendUnavailable
    at: float
    others_answered_at: float
    outage_seconds: float


@dataclass(slots=True)
class _Call:
    """A call: what is asked to find out whether the server is well, and how it went so far."""

    control: Callable[[], Awaitable[object]] | None
    measured: bool
    since: float  # the last failure, or the beginning
    attempts: Attempts = field(default_factory=Attempts)


class CallExecutor:
    """Makes attempts at one server, never more than `concurrency` at once, again while a failure may pass.

    Calls are served in the order they came, also when tried again. While nothing is answered for
    longer than `patience_seconds` calls fail at once, except for one at a time that finds out
    whether the server is back. `name` is the backend's, for spans; the observer is told of every
    attempt. `clock`, `sleep` and `rng` are those of the machine unless a test
    brings its own.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        patience_seconds: float = 60.0,
        name: str = "",
        observer: CallObserver = UNOBSERVED,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: Random | None = None,
    ) -> None:
        self._limit = AdaptiveLimit(concurrency)
        self._circuit = Circuit()
        self._slots = Slots(lambda: self._limit.limit)
        self._patience_seconds = patience_seconds
        self._name = name
        self._observer = observer
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or Random()
        self._tickets = count()
        self._under_way: dict[int, _UnderWay] = {}
        self._circuit_changed = asyncio.Event()
        self._calls = 0
        self._last_error: BackendUnavailable | None = None
        self._recovering = asyncio.Lock()
        self._absent_at = -math.inf  # when nobody was there to answer, as of the last time
        self.disconnections = 0  # times the server was gone so far: it may have become another one

    @property
    def limit(self) -> int:
        """How many attempts may be under way just now."""
        return self._limit.limit

    @property
    def under_way(self) -> int:
        """How many attempts are."""
        return len(self._under_way)

    @property
    def left_alone(self) -> bool:
        """Whether no attempt but a trial goes through, since none was answered lately."""
        return not self._circuit.closed

    async def call(
        self,
        attempt: Callable[[], Awaitable[_Answer]],
        *,
        measured: bool = True,
        control: Callable[[], Awaitable[object]] | None = None,
    ) -> _Answer:
        """The answer of the first attempt that has one. Raises BackendError.

        Not `measured`: the call is of another sort than scoring, say counting tokens, so that how
        fast it is answered says nothing of how many to score at once. The `control` is an attempt that
        every server answers that is well. It is made where the call fails and no other tells whether the
        server answers at all, and tells a prompt that the server always fails on from an outage.
        """
        self._calls += 1
        try:
            return await self._until_answered(attempt, control, measured=measured)
        finally:
            self._calls -= 1
            if not self._calls:
                self._circuit.idle()

    async def _until_answered(
        self,
        attempt: Callable[[], Awaitable[_Answer]],
        control: Callable[[], Awaitable[object]] | None,
        *,
        measured: bool,
    ) -> _Answer:
        ticket, call = next(self._tickets), _Call(control, measured, self._clock())
        while True:
            outcome = await self._in_slot(ticket, attempt, call)
            if not isinstance(outcome, _Failed):
                return outcome
            error = outcome.error
            others_answered = outcome.others_answered_at > call.since
            call.attempts = call.attempts.with_failure(error.kind, others_answered=others_answered)
            call.since = outcome.at
            verdict = decide(
                error,
                call.attempts,
                self._rng,
                outage_seconds=outcome.outage_seconds,
                patience_seconds=self._patience_seconds,
            )
            if not isinstance(verdict, Retry):
                raise self._given_up(verdict) from error
            await self._sleep(verdict.after_seconds)
            if error.broke and control is not None and await self._was_gone(ticket, control, outcome.at):
                raise died(error) from error

    async def _was_gone(self, ticket: int, control: Callable[[], Awaitable[object]], since: float) -> bool:
        """Whether the server was away after a connection broke, and answers again.

        One call finds that out for all whose connections broke with its own. Raises BackendUnavailable where the server
        is left alone for longer than the patience.
        """
        async with self._recovering:
            while self._circuit.answered_at <= since:
                with suppress(BackendRefused):  # which is an answer
                    outcome = await self._in_slot(ticket, control, _Call(None, measured=False, since=self._clock()))
                    if isinstance(outcome, _Failed):
                        if not speaks_of_absence(outcome.error) or outcome.outage_seconds >= self._patience_seconds:
                            return False
                        await self._sleep(_CONTROL_PAUSE_SECONDS)
        return self._absent_at > since

    async def _in_slot(self, ticket: int, attempt: Callable[[], Awaitable[_Answer]], call: _Call) -> _Answer | _Failed:
        await self._slots.take(ticket)
        try:
            await self._until_let_through()
            outcome = await self._make(ticket, attempt, measured=call.measured)
            if isinstance(outcome, _Failed) and call.control is not None and self._is_in_doubt(outcome, call):
                return await self._controlled(ticket, outcome, call.control)
            return outcome
        finally:
            self._slots.give_back()
            if self._slots.spare or not self._circuit.closed:
                self._limit.unused()

    def _is_in_doubt(self, failed: _Failed, call: _Call) -> bool:
        """Whether nobody can tell the call's own fault from an outage."""
        if failed.error.kind is FailureKind.OVERLOADED or failed.others_answered_at > call.since or self._under_way:
            return False
        return call.attempts.failures >= _FAILURES_BEFORE_DOUBT or failed.outage_seconds >= self._patience_seconds

    async def _controlled(self, ticket: int, failed: _Failed, control: Callable[[], Awaitable[object]]) -> _Failed:
        """The failure, beside what the server says to the control."""
        with suppress(BackendRefused):
            if not isinstance(await self._make(ticket, control, measured=False), _Failed):
                now = self._clock()
                return replace(failed, at=now, others_answered_at=now, outage_seconds=-math.inf)
        return failed

    async def _until_let_through(self) -> None:
        """Wait while the server is left alone. Raises BackendUnavailable where that takes longer than the patience."""
        while (wait := self._circuit.wait_seconds(self._clock())) > 0:
            outage = self._outage_seconds(self._clock(), began=self._clock())
            left = self._patience_seconds - outage
            if self._circuit.trying:  # its end decides, so nobody gives up before
                await self._circuit_changed.wait()
            elif left <= 0 and self._last_error is not None:
                raise outage_error(self._last_error, outage, retry_after_seconds=wait)
            else:
                await self._sleep_or_change(max(min(wait, left), _SHORTEST_SLEEP_SECONDS))

    async def _sleep_or_change(self, seconds: float) -> None:
        """Until the time is over, or the circuit has changed."""
        waits = [asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._circuit_changed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _make(
        self, ticket: int, attempt: Callable[[], Awaitable[_Answer]], *, measured: bool
    ) -> _Answer | _Failed:
        """One attempt, and what it tells of the server."""
        now = self._clock()
        this = _UnderWay(now, self._limit.begin(now, measured=measured), self._circuit.pass_through())
        self._under_way[ticket] = this
        end = CallEnd.DROPPED
        try:
            with span("backend.call", {"icm.backend": self._name}, kind=SpanKind.CLIENT):
                answer = await attempt()
        except BackendUnavailable as error:
            end = CallEnd(error.kind)
            return self._failed(this, error)
        except BackendRefused:
            end = CallEnd.REFUSED
            self._limit.dropped(this.limit)
            self._circuit.answered(self._clock())
            raise
        except BaseException:
            self._limit.dropped(this.limit)
            self._circuit.abandoned(trial=this.trial)
            raise
        else:
            now, end = self._clock(), CallEnd.ANSWERED
            self._limit.answered(this.limit, now)
            self._circuit.answered(now)
            return answer
        finally:
            del self._under_way[ticket]
            self._tell_change()
            self._observer.called(self._clock() - this.began, end)

    def _failed(self, this: _UnderWay, error: BackendUnavailable) -> _Failed:
        now = self._clock()
        others_answered_at = self._circuit.answered_at
        self._last_error = error
        self.disconnections += speaks_of_absence(error)
        if error.kind is FailureKind.DISCONNECTED and not error.broke:
            self._absent_at = now
        if error.kind is FailureKind.OVERLOADED:
            self._limit.overloaded(this.limit)
        elif error.kind is FailureKind.TIMED_OUT:
            self._limit.timed_out(this.limit)
        else:
            self._limit.dropped(this.limit)
        if error.kind is FailureKind.OVERLOADED and len(self._under_way) > 1:
            self._circuit.overloaded(now)
        else:  # that a single call is too much is no fault of ours: others keep the server busy
            self._circuit.failed(now, trial=this.trial, retry_after_seconds=error.retry_after_seconds)
        return _Failed(error, now, others_answered_at, self._outage_seconds(now, began=this.began))

    def _outage_seconds(self, now: float, *, began: float) -> float:
        """For how long nothing has been answered; none while a call that began earlier than this may still be."""
        if any(other.began < began for other in self._under_way.values()):
            return 0.0
        return self._circuit.outage_seconds(now)

    def _given_up(self, verdict: BackendUnavailable | BackendRefused) -> BackendUnavailable | BackendRefused:
        """The error that a call ends with; where it means an outage, calls to come do not wait it out anew."""
        now = self._clock()
        if isinstance(verdict, BackendUnavailable) and self._circuit.outage_seconds(now) >= self._patience_seconds:
            self._circuit.trip(now)
            self._tell_change()
            if verdict.retry_after_seconds is None:
                wait = self._circuit.wait_seconds(now)
                verdict.retry_after_seconds = wait if math.isfinite(wait) else _RETRY_AFTER_SECONDS
        return verdict

    def _tell_change(self) -> None:
        """Wake whoever waits for the circuit."""
        self._circuit_changed.set()
        self._circuit_changed.clear()
