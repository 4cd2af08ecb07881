"""A control prompt distinguishes a prompt that always fails from an outage, when nothing else is being asked."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from service.errors import BackendError, BackendRefused, BackendUnavailable, FailureKind
from service.scoring.calls.executor import CallExecutor
from tests.unit.scoring.simulated_time import in_simulated_time, now

PATIENCE_SECONDS = 60.0


def executor(patience_seconds: float = PATIENCE_SECONDS) -> CallExecutor:
    return CallExecutor(concurrency=8, patience_seconds=patience_seconds, clock=now, rng=Random(0))


def always(error: BackendError) -> Callable[[], Awaitable[str]]:
    async def attempt() -> str:
        await asyncio.sleep(0.01)
        raise error

    return attempt


async def well() -> str:
    await asyncio.sleep(0.1)
    return "answer"


@pytest.mark.parametrize("kind", [FailureKind.SERVER, FailureKind.MALFORMED])
@pytest.mark.parametrize("patience_seconds", [0.0, 1.0, PATIENCE_SECONDS])
def test_a_prompt_that_fails_alone_while_the_server_is_well_is_no_outage(
    kind: FailureKind, patience_seconds: float
) -> None:
    async def scenario() -> None:
        driving = executor(patience_seconds)
        with pytest.raises(BackendRefused, match="failed 6 times while the server answered other calls"):
            await driving.call(always(BackendUnavailable("boom", kind=kind, status=500)), control=well)
        assert now() < PATIENCE_SECONDS
        assert not driving.left_alone

    in_simulated_time(scenario())


def test_a_call_and_a_control_that_both_fail_mean_an_outage() -> None:
    async def scenario() -> None:
        failed = always(BackendUnavailable("failed", kind=FailureKind.SERVER, status=500))
        with pytest.raises(BackendUnavailable, match="no call has been answered for 6"):
            await executor().call(failed, control=failed)

    in_simulated_time(scenario())


def test_an_overload_is_never_a_prompts_fault() -> None:
    async def scenario() -> None:
        busy = always(BackendUnavailable("busy", kind=FailureKind.OVERLOADED))
        with pytest.raises(BackendUnavailable, match="no call has been answered"):
            await executor().call(busy, control=well)

    in_simulated_time(scenario())


def broken() -> BackendUnavailable:
    error = BackendUnavailable("ReadError", kind=FailureKind.DISCONNECTED)
    error.broke = True
    return error


class Mortal:
    """A server that dies at some calls, and returns after a while unless it stays away."""

    def __init__(self, away_seconds: float) -> None:
        self.away_seconds = away_seconds
        self.deaths = 0
        self.controls = 0
        self._back_at = 0.0

    async def fatal(self) -> str:
        await self._answer()
        self.deaths += 1
        self._back_at = now() + self.away_seconds
        raise broken()

    async def slow(self) -> str:
        """A long call, which fails when the server ends."""
        deaths = self.deaths
        await self._answer()
        await asyncio.sleep(0.5)
        if self.deaths > deaths:
            raise broken()
        return "answer"

    async def control(self) -> str:
        self.controls += 1
        return await self._answer()

    async def _answer(self) -> str:
        await asyncio.sleep(0.01)
        if now() < self._back_at:
            raise BackendUnavailable("ConnectError", kind=FailureKind.DISCONNECTED)
        return "answer"


@pytest.mark.parametrize("away_seconds", [1.0, 30.0])
def test_a_call_that_crashes_the_server_fails_after_one_crash_once_the_server_is_back(away_seconds: float) -> None:
    async def scenario() -> None:
        server = Mortal(away_seconds)
        with pytest.raises(BackendUnavailable, match="ended while it was to answer this") as caught:
            await executor().call(server.fatal, control=server.control)
        assert caught.value.died
        assert server.deaths == 1
        assert now() >= away_seconds

    in_simulated_time(scenario())


def test_calls_that_a_death_breaks_together_find_out_by_one_control_at_a_time() -> None:
    async def scenario() -> None:
        server, driving = Mortal(0.9), executor()
        calls = [server.fatal, *[server.slow] * 6]
        ends = await asyncio.gather(
            *(driving.call(call, control=server.control) for call in calls), return_exceptions=True
        )
        assert all(end == "answer" or (isinstance(end, BackendUnavailable) and end.died) for end in ends)
        assert ends[0] != "answer"
        assert server.controls <= 4

    in_simulated_time(scenario())


def test_a_server_that_stays_away_is_an_outage() -> None:
    async def scenario() -> None:
        server = Mortal(1000.0)
        with pytest.raises(BackendUnavailable, match="no call has been answered for") as caught:
            await executor().call(server.fatal, control=server.control)
        assert not caught.value.died
        assert caught.value.broke

    in_simulated_time(scenario())


def test_an_outage_that_begins_before_a_call_does_not_accuse_it() -> None:
    async def scenario() -> None:
        server, driving = Mortal(1000.0), executor()
        with pytest.raises(BackendUnavailable):
            await driving.call(server.fatal, control=server.control)
        with pytest.raises(BackendUnavailable, match="no call has been answered for") as caught:
            await driving.call(server.slow, control=server.control)
        assert not caught.value.broke

    in_simulated_time(scenario())


def test_a_connection_that_breaks_while_the_server_stays_is_tried_again() -> None:
    async def scenario() -> None:
        failures = [broken()] * 3

        async def attempt() -> str:
            await asyncio.sleep(0.01)
            if failures:
                raise failures.pop()
            return "answer"

        assert await executor().call(attempt, control=well) == "answer"

    in_simulated_time(scenario())
