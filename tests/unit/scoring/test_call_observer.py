"""Observers of a driver are notified of every attempt: how it ended and how long it took."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.errors import BackendError, BackendRefused, BackendUnavailable, FailureKind
from service.records.observations import CallEnd
from service.scoring.calls.executor import CallExecutor


class Clock:
    """A clock that advances by a second whenever it is read, and by every sleep."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        self.seconds += 1.0
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


class Observer:
    def __init__(self) -> None:
        self.calls = list[tuple[CallEnd, bool]]()

    def called(self, seconds: float, how: CallEnd) -> None:
        self.calls.append((how, seconds > 0))


def driven(observer: Observer) -> CallExecutor:
    clock = Clock()
    return CallExecutor(concurrency=2, patience_seconds=0.0, observer=observer, clock=clock.now, sleep=clock.sleep)


def fails(error: Exception) -> Callable[[], Awaitable[str]]:
    async def attempt() -> str:
        raise error

    return attempt


async def answers() -> str:
    return "yes"


async def test_an_answer_is_observed() -> None:
    observer = Observer()
    assert await driven(observer).call(answers) == "yes"
    assert observer.calls == [(CallEnd.ANSWERED, True)]


@pytest.mark.parametrize("kind", list(FailureKind), ids=lambda kind: kind.value)
async def test_every_kind_of_failure_is_observed_by_its_name(kind: FailureKind) -> None:
    observer = Observer()
    with pytest.raises(BackendError):
        await driven(observer).call(fails(BackendUnavailable("no", kind=kind)))
    assert set(observer.calls) == {(CallEnd(kind.value), True)}


async def test_a_refusal_and_an_abandoned_attempt_are_observed_separately() -> None:
    observer = Observer()
    with pytest.raises(BackendRefused):
        await driven(observer).call(fails(BackendRefused("never")))
    with pytest.raises(RuntimeError):
        await driven(observer).call(fails(RuntimeError("ours")))
    assert [how for how, _ in observer.calls] == [CallEnd.REFUSED, CallEnd.DROPPED]


async def test_an_executor_with_an_open_circuit_says_so() -> None:
    executor = driven(Observer())
    assert not executor.left_alone
    with pytest.raises(BackendError):
        await executor.call(fails(BackendUnavailable("away", kind=FailureKind.DISCONNECTED)))
    assert executor.left_alone
