"""A discrete-event simulation of a server: slots, call durations, a queue or refusals; no real time passes."""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

from service.scoring.calls.concurrency_limit import AdaptiveLimit, CallStart

_TRAVEL_SECONDS = 0.002  # at most; calls overtake each other


@dataclass(frozen=True)
class Server:
    """A simulated server; with `spread` 0 all calls take `seconds`, with 1 they are exponentially distributed."""

    slots: int
    seconds: float = 0.5
    refuses: bool = False
    spread: float = 0.0
    patience_seconds: float = float("inf")  # of the client, for an answer

    @property
    def calls_a_second(self) -> float:
        return self.slots / self.seconds


@dataclass
class Simulation:
    """An endless supply of calls, as many in flight as the limit allows."""

    limit: AdaptiveLimit
    server: Server
    seed: int = 0
    now: float = 0.0
    answered_at: list[float] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)
    timed_out_at: list[float] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = Random(self.seed)
        self._events: list[tuple[float, int, str, CallStart | None]] = []
        self._numbers = count()
        self._queue: deque[tuple[CallStart, float]] = deque()
        self._busy = self._under_way = 0

    def run(self, until: float, *, demand: int | None = None) -> "Simulation":
        """Run to this time; `demand` is the largest number of concurrent calls."""
        self._begin_calls(demand)
        while self._events and self._events[0][0] <= until:
            self.now, _, event, call = heapq.heappop(self._events)
            getattr(self, f"_{event}")(call)
            self._begin_calls(demand)
            self.limits.append((self.now, self.limit.limit))
        self.now = until
        return self

    def rate(self, start: float, end: float) -> float:
        """Answered calls per second."""
        return sum(start < time <= end for time in self.answered_at) / (end - start)

    def _begin_calls(self, demand: int | None) -> None:
        while self._under_way < self.limit.limit:
            if demand is not None and self._under_way >= demand:
                self.limit.unused()
                return
            self._under_way += 1
            self._later(self._rng.uniform(0, _TRAVEL_SECONDS), "arrived", self.limit.begin(self.now))

    def _arrived(self, call: CallStart) -> None:
        if self._busy < self.server.slots:
            self._work_on(call, self.now)
        elif self.server.refuses:
            self._later(_TRAVEL_SECONDS, "refused", call)
        else:
            self._queue.append((call, self.now))

    def _work_on(self, call: CallStart, began: float) -> None:
        self._busy += 1
        spread = self.server.spread
        seconds = self.server.seconds * (1 - spread + (self._rng.expovariate(1) * spread if spread else 0))
        late = self.now + seconds - began > self.server.patience_seconds
        self._later(seconds, "timed_out" if late else "answered", call)

    def _later(self, seconds: float, event: str, call: CallStart | None) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), event, call))

    def _ended(self) -> None:
        self._busy -= 1
        self._under_way -= 1
        while self._queue and self._busy < self.server.slots:
            self._work_on(*self._queue.popleft())

    def _answered(self, call: CallStart) -> None:
        self._ended()
        self.answered_at.append(self.now)
        self.limit.answered(call, self.now)

    def _timed_out(self, call: CallStart) -> None:
        self._ended()
        self.timed_out_at.append(self.now)
        self.limit.timed_out(call)

    def _refused(self, call: CallStart) -> None:
        self._under_way -= 1
        self.refused_at.append(self.now)
        self.limit.overloaded(call)


def simulate(server: Server, *, most: int = 64, seconds: float = 60.0, seed: int = 0) -> Simulation:
    """Simulate a server from a cold start."""
    return Simulation(AdaptiveLimit(most), server, seed).run(seconds)


def rates(simulation: Simulation, changes: Sequence[tuple[float, Server]], window: float) -> list[float]:
    """The share of the ideal rate in the last `window` seconds before each change."""
    found = []
    for until, server in changes:
        simulation.server = server
        simulation.run(until)
        found.append(simulation.rate(until - window, until) / server.calls_a_second)
    return found
