"""A control tells a prompt that a server always fails on from an outage, where nothing else is asked meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from service.errors import BackendError, BackendRefused, BackendUnavailable, FailureKind
from service.scoring.calls.executor import Driver
from tests.unit.scoring.simulated_time import in_simulated_time, now

PATIENCE_SECONDS = 60.0


def driver(patience_seconds: float = PATIENCE_SECONDS) -> Driver:
    return Driver(concurrency=8, patience_seconds=patience_seconds, clock=now, rng=Random(0))


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
        driving = driver(patience_seconds)
        with pytest.raises(BackendRefused, match="failed 6 times while the server answered other calls"):
            await driving.call(always(BackendUnavailable("boom", kind=kind, status=500)), control=well)
        assert now() < PATIENCE_SECONDS
        assert not driving.left_alone

    in_simulated_time(scenario())


def test_a_call_and_a_control_that_both_fail_mean_an_outage() -> None:
    async def scenario() -> None:
        failed = always(BackendUnavailable("failed", kind=FailureKind.SERVER, status=500))
        with pytest.raises(BackendUnavailable, match="no call has been answered for 6"):
            await driver().call(failed, control=failed)

    in_simulated_time(scenario())


def test_an_overload_is_never_a_prompts_fault() -> None:
    async def scenario() -> None:
        busy = always(BackendUnavailable("busy", kind=FailureKind.OVERLOADED))
        with pytest.raises(BackendUnavailable, match="no call has been answered"):
            await driver().call(busy, control=well)

    in_simulated_time(scenario())
