"""Executes calls to one server with bounded concurrency, retries and a circuit breaker.

Pure modules decide: `concurrency_limit.py` (how many calls at once), `circuit_breaker.py` (whether to call
at all) and `retry_rules.py` (whether to retry). This module counts, waits and calls.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Generic, TypeVar

from opentelemetry.trace import SpanKind

from service.errors import BackendRefused, BackendUnavailable, FailureKind
from service.ports.observers import UNOBSERVED, CallObserver
from service.records.observations import CallEnd
from service.scoring.calls.circuit_breaker import CircuitBreaker
from service.scoring.calls.concurrency_limit import AdaptiveLimit, CallStart
from service.scoring.calls.priority_semaphore import PrioritySemaphore
from service.scoring.calls.retry_rules import Attempts, Retry, crash_error, decide, means_absence, outage_error
from service.spans import span

_Answer = TypeVar("_Answer")
_SHORTEST_SLEEP_SECONDS = 0.001  # so that rounding errors do not lead to many tiny sleeps
_FAILURES_BEFORE_DOUBT = 2  # failures of a lone call before a control finds out whether the server is at fault
_CONTROL_PAUSE_SECONDS = 0.5
_RETRY_AFTER_SECONDS = 5.0  # Retry-After while a trial is under way, whose end nobody can predict


@dataclass(slots=True)
class _UnderWay:
    """An attempt in flight."""

    began: float
    limit: CallStart
    trial: bool


@dataclass(frozen=True, slots=True)
class _Failed:
    """A failed attempt: its time, when the server last answered another call, and how long the outage has lasted."""

    error: BackendUnavailable
    at: float
    others_answered_at: float
    outage_seconds: float


@dataclass(slots=True)
class _Call(Generic[_Answer]):
    """A call, in the order of its ticket, with its control (see `CallExecutor.call`) and its failures so far."""

    ticket: int
    attempt: Callable[[], Awaitable[_Answer]]
    control: Callable[[], Awaitable[object]] | None
    measured: bool
    since: float  # the time of the last failure, or of the call's begin
    attempts: Attempts = field(default_factory=Attempts)
    broke: bool = False  # whether the connection of one of its attempts did


class CallExecutor:
    """Executes calls to one server: at most `concurrency` attempts at once, with retries of transient failures.

    The executor serves calls in the order of their arrival, also on retries. Once the server has not answered
    for `patience_seconds`, calls fail at once, except for one trial at a time. Spans carry the backend's
    `name`; the observer is notified of every attempt. Tests may replace `clock`, `sleep` and `rng`.
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
        self._circuit = CircuitBreaker()
        self._slots = PrioritySemaphore(lambda: self._limit.limit)
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
        self._absent_at = -math.inf  # the last time at which no server listened
        self.disconnections = 0  # how often the server was absent so far: it may have come back with another model

    @property
    def limit(self) -> int:
        """The number of attempts that may be in flight now."""
        return self._limit.limit

    @property
    def under_way(self) -> int:
        """The number of attempts in flight."""
        return len(self._under_way)

    @property
    def left_alone(self) -> bool:
        """Whether the circuit is open, so that only trials go through."""
        return not self._circuit.closed

    async def call(
        self,
        attempt: Callable[[], Awaitable[_Answer]],
        *,
        measured: bool = True,
        control: Callable[[], Awaitable[object]] | None = None,
    ) -> _Answer:
        """Attempt a call until the server answers, and return the answer. Raises BackendError.

        `measured=False` marks a call other than scoring, such as counting tokens: its speed says nothing
        about how many prompts to score at once. `control` is an attempt that every healthy server answers.
        The executor makes it when the call fails and no other call shows whether the server is up. So it
        can distinguish a prompt on which the server always fails from an outage.
        """
        call = _Call(next(self._tickets), attempt, control, measured, self._clock())
        self._calls += 1
        try:
            return await self._retried(call)
        except BackendUnavailable as error:
            error.broke = error.broke or call.broke
            raise
        finally:
            self._calls -= 1
            if not self._calls:
                self._circuit.idle()

    async def _retried(self, call: _Call[_Answer]) -> _Answer:
        while True:
            outcome = await self._in_slot(call)
            if not isinstance(outcome, _Failed):
                return outcome
            error = outcome.error
            call.broke = call.broke or error.broke
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
                raise self._final_error(verdict) from error
            await self._sleep(verdict.after_seconds)
            if error.broke and call.control and await self._was_absent(call.ticket, call.control, outcome.at):
                raise crash_error(error) from error

    async def _was_absent(self, ticket: int, control: Callable[[], Awaitable[object]], since: float) -> bool:
        """Wait until the server answers again after a broken connection; return whether it was absent meanwhile.

        One call finds that out for all calls whose connections broke at that time. Raises BackendUnavailable
        if the circuit stays open for longer than the patience.
        """
        async with self._recovering:
            while self._circuit.answered_at <= since:
                with suppress(BackendRefused):  # a refusal is an answer, too
                    outcome = await self._in_slot(_Call(ticket, control, None, measured=False, since=self._clock()))
                    if isinstance(outcome, _Failed):
                        if not means_absence(outcome.error) or outcome.outage_seconds >= self._patience_seconds:
                            return False
                        await self._sleep(_CONTROL_PAUSE_SECONDS)
        return self._absent_at > since

    async def _in_slot(self, call: _Call[_Answer]) -> _Answer | _Failed:
        await self._slots.take(call.ticket)
        try:
            await self._wait_for_circuit()
            outcome = await self._make(call.ticket, call.attempt, measured=call.measured)
            if isinstance(outcome, _Failed) and call.control is not None and self._is_in_doubt(outcome, call):
                return await self._with_control(call.ticket, call.control, outcome)
            return outcome
        finally:
            self._slots.give_back()
            if self._slots.spare or not self._circuit.closed:
                self._limit.unused()

    def _is_in_doubt(self, failed: _Failed, call: _Call[_Answer]) -> bool:
        """Whether it is unclear if the call itself or an outage is the cause."""
        if failed.error.kind is FailureKind.OVERLOADED or failed.others_answered_at > call.since or self._under_way:
            return False
        return call.attempts.failures >= _FAILURES_BEFORE_DOUBT or failed.outage_seconds >= self._patience_seconds

    async def _with_control(self, ticket: int, control: Callable[[], Awaitable[object]], failed: _Failed) -> _Failed:
        """Make the control; if the server answers it, return the failure as one during which others were answered."""
        with suppress(BackendRefused):
            if not isinstance(await self._make(ticket, control, measured=False), _Failed):
                now = self._clock()
                return replace(failed, at=now, others_answered_at=now, outage_seconds=-math.inf)
        return failed

    async def _wait_for_circuit(self) -> None:
        """Wait while the circuit is open. Raises BackendUnavailable once that exceeds the patience."""
        while (wait := self._circuit.wait_seconds(self._clock())) > 0:
            outage = self._outage_seconds(self._clock(), began=self._clock())
            left = self._patience_seconds - outage
            if self._circuit.trial_under_way:  # the trial's outcome decides, so no call gives up before
                await self._circuit_changed.wait()
            elif left <= 0 and self._last_error is not None:
                raise outage_error(self._last_error, outage, retry_after_seconds=wait)
            else:
                await self._sleep_or_change(max(min(wait, left), _SHORTEST_SLEEP_SECONDS))

    async def _sleep_or_change(self, seconds: float) -> None:
        """Sleep for some time, or until the circuit changes."""
        waits = [asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._circuit_changed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _make(
        self, ticket: int, attempt: Callable[[], Awaitable[_Answer]], *, measured: bool
    ) -> _Answer | _Failed:
        """Make one attempt and report its outcome to limit, circuit and observer."""
        now = self._clock()
        this = _UnderWay(now, self._limit.begin(now, measured=measured), self._circuit.start_call())
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
            self._limit.dropped()
            self._circuit.answered(self._clock())
            raise
        except BaseException:
            self._limit.dropped()
            self._circuit.abandoned(trial=this.trial)
            raise
        else:
            now, end = self._clock(), CallEnd.ANSWERED
            self._limit.answered(this.limit, now)
            self._circuit.answered(now)
            return answer
        finally:
            del self._under_way[ticket]
            self._notify_circuit_changed()
            self._observer.called(self._clock() - this.began, end)

    def _failed(self, this: _UnderWay, error: BackendUnavailable) -> _Failed:
        now = self._clock()
        others_answered_at = self._circuit.answered_at
        self._last_error = error
        self.disconnections += means_absence(error)
        if error.kind is FailureKind.DISCONNECTED and not error.broke:
            self._absent_at = now
        if error.kind is FailureKind.OVERLOADED:
            self._limit.overloaded(this.limit)
        elif error.kind is FailureKind.TIMED_OUT:
            self._limit.timed_out(this.limit)
        else:
            self._limit.dropped()
        if error.kind is FailureKind.OVERLOADED and len(self._under_way) > 1:
            self._circuit.overloaded(now)
        else:  # a single call cannot overload the server: other clients keep it busy
            self._circuit.failed(now, trial=this.trial, retry_after_seconds=error.retry_after_seconds)
        return _Failed(error, now, others_answered_at, self._outage_seconds(now, began=this.began))

    def _outage_seconds(self, now: float, *, began: float) -> float:
        """The duration of the outage; 0 while an attempt that began earlier may still be answered."""
        if any(other.began < began for other in self._under_way.values()):
            return 0.0
        return self._circuit.outage_seconds(now)

    def _final_error(self, verdict: BackendUnavailable | BackendRefused) -> BackendUnavailable | BackendRefused:
        """The error that ends a call; if it means an outage, open the circuit so that later calls fail at once."""
        now = self._clock()
        if isinstance(verdict, BackendUnavailable) and self._circuit.outage_seconds(now) >= self._patience_seconds:
            self._circuit.trip(now)
            self._notify_circuit_changed()
            if verdict.retry_after_seconds is None:
                wait = self._circuit.wait_seconds(now)
                verdict.retry_after_seconds = wait if math.isfinite(wait) else _RETRY_AFTER_SECONDS
        return verdict

    def _notify_circuit_changed(self) -> None:
        """Wake all calls that wait for the circuit."""
        self._circuit_changed.set()
        self._circuit_changed.clear()
