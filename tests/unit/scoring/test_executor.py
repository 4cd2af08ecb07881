import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from service.errors import BackendError, BackendRefused, BackendUnavailable, FailureKind, LabelUnreachable
from service.scoring.calls.circuit_breaker import LONGEST_PAUSE_SECONDS
from service.scoring.calls.executor import CallExecutor
from service.scoring.calls.retry_rules import MAX_FAILURES
from tests.unit.scoring.simulated_time import in_simulated_time, now

PATIENCE_SECONDS = 60.0


@dataclass
class Server:
    """A server with limited concurrency and fixed durations, in simulated time; excess calls wait or are refused.

    `down` gives the failure that each call meets, if any, by the time at which it comes.
    """

    slots: int = 8
    seconds: float = 0.5
    refuses: bool = False
    retry_after_seconds: float | None = None
    down: Callable[[float], FailureKind | None] = lambda _: None
    calls: list[float] = field(default_factory=list)
    answers: int = 0
    under_way: int = 0
    most_under_way: int = 0

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.slots)

    async def answer(self) -> str:
        self.calls.append(now())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self._fail()
            async with self._free:
                await asyncio.sleep(self.seconds)
            self.answers += 1
            return "answer"
        finally:
            self.under_way -= 1

    async def _fail(self) -> None:
        await asyncio.sleep(0.001)
        kind = self.down(now())
        if kind is not None:
            raise BackendUnavailable("down", kind=kind)
        if self.refuses and self._free.locked():
            raise BackendUnavailable("busy", self.retry_after_seconds, kind=FailureKind.OVERLOADED)


def executor(concurrency: int = 64, patience_seconds: float = PATIENCE_SECONDS) -> CallExecutor:
    return CallExecutor(concurrency=concurrency, patience_seconds=patience_seconds, clock=now, rng=Random(0))


def failing(*errors: BaseException, then: str = "answer") -> Callable[[], Awaitable[str]]:
    """An attempt that raises these errors one after the other before it answers."""
    left = list(errors)

    async def attempt() -> str:
        await asyncio.sleep(0.01)
        if left:
            raise left.pop(0)
        return then

    return attempt


def always(error: BackendError) -> Callable[[], Awaitable[str]]:
    async def attempt() -> str:
        await asyncio.sleep(0.01)
        raise error

    return attempt


def until(
    end: float, kind: FailureKind = FailureKind.DISCONNECTED, start: float = 0
) -> Callable[[float], FailureKind | None]:
    return lambda time: kind if start <= time < end else None


async def outcome_of(call: Awaitable[str]) -> str | BackendError:
    try:
        return await call
    except BackendError as error:
        return error


@pytest.mark.parametrize("kind", list(FailureKind))
def test_a_call_is_tried_until_it_has_an_answer(kind: FailureKind) -> None:
    async def scenario() -> None:
        failures = [BackendUnavailable("no", kind=kind) for _ in range(4)]
        assert await executor().call(failing(*failures)) == "answer"

    in_simulated_time(scenario())


@pytest.mark.parametrize("error", [BackendRefused("no"), LabelUnreachable("no label"), ZeroDivisionError("a defect")])
def test_any_other_error_is_passed_on_at_once(error: Exception) -> None:
    async def scenario() -> None:
        driving = executor(concurrency=1)
        with pytest.raises(type(error)) as raised:
            await driving.call(failing(error))
        assert raised.value is error
        assert await driving.call(failing()) == "answer"

    in_simulated_time(scenario())


def test_the_servers_retry_after_is_obeyed() -> None:
    async def scenario() -> None:
        busy = BackendUnavailable("busy", 20.0, kind=FailureKind.OVERLOADED)
        assert await executor().call(failing(busy, busy)) == "answer"
        assert 40 <= now() <= 42

    in_simulated_time(scenario())


@pytest.mark.parametrize(("slots", "refuses", "retry_after"), [(1, False, None), (8, True, None), (64, True, 1.0)])
def test_throughput_is_near_ideal(slots: int, retry_after: float | None, *, refuses: bool) -> None:
    async def scenario() -> None:
        server, driving = Server(slots, 0.5, refuses, retry_after), executor(concurrency=128)
        calls = 80 * slots
        await asyncio.gather(*(driving.call(server.answer) for _ in range(calls)))
        assert server.answers == calls
        assert calls / now() >= 0.9 * slots / 0.5

    in_simulated_time(scenario())


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_no_more_calls_are_under_way_than_the_operator_allows(concurrency: int) -> None:
    async def scenario() -> None:
        server, driving = Server(slots=1000), executor(concurrency)
        await asyncio.gather(*(driving.call(server.answer) for _ in range(600)))
        assert server.most_under_way == concurrency

    in_simulated_time(scenario())


def test_calls_are_served_in_the_order_they_came_also_when_tried_again() -> None:
    async def scenario() -> None:
        driving, done = executor(concurrency=1), list[int]()
        failures: dict[int, list[BaseException]] = {3: [BackendUnavailable("no", kind=FailureKind.SERVER)]}

        async def one(number: int) -> None:
            await driving.call(failing(*failures.get(number, [])))
            done.append(number)

        await asyncio.gather(*map(one, range(60)))
        done.remove(3)
        assert done == [*range(3), *range(4, 60)]

    in_simulated_time(scenario())


@pytest.mark.parametrize("kind", [FailureKind.DISCONNECTED, FailureKind.SERVER, FailureKind.OVERLOADED])
def test_every_call_is_answered_after_an_outage_within_the_patience(kind: FailureKind) -> None:
    async def scenario() -> None:
        server, driving = Server(64, 0.5, down=until(602, kind, start=2)), executor(patience_seconds=3600)
        assert await asyncio.gather(*(driving.call(server.answer) for _ in range(300))) == ["answer"] * 300
        assert 602 < now() < 602 + LONGEST_PAUSE_SECONDS + 25

    in_simulated_time(scenario())


@pytest.mark.parametrize("kind", [FailureKind.DISCONNECTED, FailureKind.OVERLOADED])
def test_a_server_that_is_down_or_busy_with_others_gets_few_calls(kind: FailureKind) -> None:
    async def scenario() -> None:
        server, driving = Server(down=until(602, kind, start=2)), executor(patience_seconds=3600)
        await asyncio.gather(*(driving.call(server.answer) for _ in range(300)))
        assert sum(60 < call < 600 for call in server.calls) <= 540 / LONGEST_PAUSE_SECONDS

    in_simulated_time(scenario())


@pytest.mark.parametrize("kind", list(FailureKind))
def test_an_outage_beyond_the_patience_ends_every_call(kind: FailureKind) -> None:
    async def scenario() -> None:
        server, driving = Server(down=until(10_000, kind)), executor()
        outcomes = await asyncio.gather(*(outcome_of(driving.call(server.answer)) for _ in range(500)))
        assert PATIENCE_SECONDS <= now() <= PATIENCE_SECONDS + 25
        for error in outcomes:
            assert isinstance(error, BackendUnavailable)
            assert error.kind is kind
            assert error.retry_after_seconds is not None
            assert re.match("no call has been answered for [678]. s; at last: down", str(error))

    in_simulated_time(scenario())


def test_calls_that_come_in_a_long_outage_fail_at_once_and_still_find_out_when_it_is_over() -> None:
    async def scenario() -> None:
        server, driving = Server(down=until(300)), executor()
        waited, asked = list[float](), list[int]()
        while not isinstance(outcome := await outcome_of(driving.call(server.answer)), str):
            assert isinstance(outcome, BackendUnavailable)
            waited.append(now() - sum(waited))
            asked.append(len(server.calls))
            await asyncio.sleep(1)
            waited.append(1)
        assert waited[0] > PATIENCE_SECONDS
        assert max(waited[1:]) <= 1
        assert asked[-1] - asked[0] <= 240 / LONGEST_PAUSE_SECONDS + 5
        assert 300 < now() < 300 + LONGEST_PAUSE_SECONDS + 2

    in_simulated_time(scenario())


def test_after_a_few_slow_failures_calls_fail_at_once_too() -> None:
    async def scenario() -> None:
        driving, tries = executor(), list[float]()

        async def hanging() -> str:
            tries.append(now())
            await asyncio.sleep(40)
            raise BackendUnavailable("late", kind=FailureKind.TIMED_OUT)

        await outcome_of(driving.call(hanging))
        given_up, asked = now(), len(tries)
        assert isinstance(await outcome_of(driving.call(hanging)), BackendUnavailable)
        assert (now(), len(tries)) == (given_up, asked)

    in_simulated_time(scenario())


def test_calls_wait_for_a_trial_rather_than_fail_beside_it() -> None:
    async def scenario() -> None:
        server, driving = Server(64, 5.0, down=until(100)), executor()
        await outcome_of(driving.call(server.answer))
        await asyncio.sleep(100)
        assert await asyncio.gather(*(driving.call(server.answer) for _ in range(100))) == ["answer"] * 100

    in_simulated_time(scenario())


def test_a_trial_that_is_cancelled_is_made_by_another_call() -> None:
    async def scenario() -> None:
        server, driving = Server(64, 5.0, down=until(100)), executor()
        await outcome_of(driving.call(server.answer))
        await asyncio.sleep(100)
        trial = asyncio.create_task(driving.call(server.answer))
        await asyncio.sleep(1)
        others = [asyncio.create_task(driving.call(server.answer)) for _ in range(10)]
        await asyncio.sleep(1)
        assert driving.under_way == 1
        trial.cancel()
        assert await asyncio.gather(*others) == ["answer"] * 10

    in_simulated_time(scenario())


def test_an_outage_that_has_ended_does_not_shorten_the_patience_with_the_next() -> None:
    async def scenario() -> None:
        driving = executor()
        patient = asyncio.create_task(driving.call(always(BackendUnavailable("no", kind=FailureKind.DISCONNECTED))))
        await asyncio.sleep(1)
        patient.cancel()
        await asyncio.sleep(1000)
        assert await driving.call(failing(BackendUnavailable("no", kind=FailureKind.DISCONNECTED))) == "answer"

    in_simulated_time(scenario())


@pytest.mark.parametrize("kind", [FailureKind.SERVER, FailureKind.MALFORMED])
def test_a_prompt_that_fails_again_and_again_is_refused_and_the_others_are_answered(kind: FailureKind) -> None:
    async def scenario() -> None:
        server, driving, tries = Server(8), executor(), list[float]()

        async def poison() -> str:
            tries.append(now())
            raise BackendUnavailable("cannot", kind=kind)

        others = [asyncio.create_task(driving.call(server.answer)) for _ in range(200)]
        with pytest.raises(BackendRefused, match="failed 6 times while the server answered other calls"):
            await driving.call(poison)
        assert len(tries) <= 3 * MAX_FAILURES[kind]
        assert await asyncio.gather(*others) == ["answer"] * 200

    in_simulated_time(scenario())


def test_slow_calls_under_way_keep_a_failing_one_from_being_taken_for_an_outage() -> None:
    async def scenario() -> None:
        server, driving = Server(64, seconds=100), executor()
        others = [asyncio.create_task(driving.call(server.answer)) for _ in range(3)]
        await asyncio.sleep(1)
        error = await outcome_of(driving.call(always(BackendUnavailable("cannot", kind=FailureKind.SERVER))))
        assert await asyncio.gather(*others) == ["answer"] * 3
        assert isinstance(error, BackendUnavailable)
        assert now() > 100 + PATIENCE_SECONDS

    in_simulated_time(scenario())


def test_a_call_that_fails_where_no_other_is_answered_means_an_outage() -> None:
    async def scenario() -> None:
        with pytest.raises(BackendUnavailable, match="no call has been answered for 6"):
            await executor().call(always(BackendUnavailable("failed", kind=FailureKind.SERVER, status=500)))

    in_simulated_time(scenario())


def test_without_patience_the_first_failure_ends_a_call() -> None:
    async def scenario() -> None:
        with pytest.raises(BackendUnavailable):
            await executor(patience_seconds=0).call(failing(BackendUnavailable("no", kind=FailureKind.DISCONNECTED)))
        assert now() < 0.1

    in_simulated_time(scenario())


def test_times_the_server_was_gone_are_counted() -> None:
    async def scenario() -> None:
        driving = executor()
        gone = BackendUnavailable("broken", kind=FailureKind.DISCONNECTED)
        loading = BackendUnavailable("loading", kind=FailureKind.SERVER, status=503)
        late = BackendUnavailable("late", kind=FailureKind.TIMED_OUT)
        await driving.call(failing(gone, late, loading))
        assert driving.disconnections == 2

    in_simulated_time(scenario())


def test_calls_that_are_cancelled_leave_their_slots_to_others() -> None:
    async def scenario() -> None:
        server, driving = Server(4, seconds=50), executor(concurrency=4)
        tasks = [asyncio.create_task(driving.call(server.answer)) for _ in range(20)]
        await asyncio.sleep(10)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
        assert driving.under_way == server.under_way == 0
        assert await asyncio.gather(*(driving.call(server.answer) for _ in range(8))) == ["answer"] * 8

    in_simulated_time(scenario())


def test_time_outs_reduce_the_calls_under_way() -> None:
    async def scenario() -> None:
        server, driving = Server(4, seconds=1.0), executor(concurrency=64)

        async def in_time() -> str:
            try:
                async with asyncio.timeout(10):
                    return await server.answer()
            except TimeoutError:
                raise BackendUnavailable("late", kind=FailureKind.TIMED_OUT) from None

        await asyncio.gather(*(driving.call(in_time) for _ in range(800)))
        assert 800 / now() >= 0.9 * 4

    in_simulated_time(scenario())


def test_calls_of_another_sort_use_slots_but_do_not_raise_their_number() -> None:
    async def scenario() -> None:
        server, driving = Server(64), executor()
        await asyncio.gather(*(driving.call(server.answer, measured=False) for _ in range(100)))
        assert server.most_under_way == driving.limit == 4

    in_simulated_time(scenario())


def test_a_replaced_clock_and_sleep_scale_time_down() -> None:
    async def scenario() -> None:
        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds / 1000)

        driving = CallExecutor(concurrency=4, clock=lambda: 1000 * now(), sleep=sleep, rng=Random(0))
        with pytest.raises(BackendUnavailable, match="no call has been answered for"):
            await driving.call(always(BackendUnavailable("no", kind=FailureKind.DISCONNECTED)))
        assert now() < 0.3

    in_simulated_time(scenario())
