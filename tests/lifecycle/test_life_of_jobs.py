"""The life of jobs, tried at random: a few lives with every run of the tests, many with `make fuzz`.

HYPOTHESIS_PROFILE=long has many; a failure prints its steps there, the shortest that show it.
"""

import asyncio
import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.lifecycle.machine import LifeOfJobs
from tests.lifecycle.worlds import MemoryWorld, PostgresWorld

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"


def lives(count: int, *, in_long: int) -> settings:
    return settings(
        max_examples=in_long if LONG else count,
        stateful_step_count=50 if LONG else 30,
        deadline=None,
        derandomize=not LONG,
        database=None,
        phases=(Phase.generate, Phase.shrink) if LONG else (Phase.generate,),  # to shrink takes minutes
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def test_in_the_twin_jobs_live_as_the_model_says() -> None:
    with asyncio.Runner() as runner:
        machine = type("InMemory", (LifeOfJobs,), {"world": MemoryWorld(runner)})
        run_state_machine_as_test(machine, settings=lives(100, in_long=5_000))


def test_in_postgres_jobs_live_as_the_model_says(database_url: str) -> None:
    with asyncio.Runner() as runner:
        world = PostgresWorld(runner, database_url)
        try:
            machine = type("InPostgres", (LifeOfJobs,), {"world": world})
            run_state_machine_as_test(machine, settings=lives(12, in_long=500))
        finally:
            world.close()
