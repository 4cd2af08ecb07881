import asyncio
from random import Random

import pytest

from service.errors import BackendRefused, BackendUnavailable
from service.scoring.failures import MAX_ATTEMPTS
from service.scoring.retrying import until_answered


class Call:
    """Fails so often, then answers; delays are noted and not waited for."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.calls = failures, error, 0
        self.delays: list[float] = []

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "answer"

    async def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)


async def run(call: Call, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(asyncio, "sleep", call.sleep)
    return await until_answered(call, Random(0))


async def test_a_call_is_tried_until_it_has_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(3, BackendUnavailable("busy", retry_after_seconds=20.0))
    assert await run(call, monkeypatch) == "answer"
    assert call.delays == [20.0, 20.0, 20.0]


async def test_after_the_last_attempt_the_failure_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(MAX_ATTEMPTS, BackendUnavailable("busy"))
    with pytest.raises(BackendUnavailable, match="busy"):
        await run(call, monkeypatch)
    assert (call.calls, len(call.delays)) == (MAX_ATTEMPTS, MAX_ATTEMPTS - 1)


async def test_a_refusal_is_passed_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(1, BackendRefused("no"))
    with pytest.raises(BackendRefused):
        await run(call, monkeypatch)
    assert (call.calls, call.delays) == (1, [])
