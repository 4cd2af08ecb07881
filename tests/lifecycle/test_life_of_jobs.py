"""Random lives of jobs, in Postgres and in the model: a few in `make test`, more in `make test-long` and `make fuzz`.

With HYPOTHESIS_PROFILE=long there are many, and a failure prints the shortest steps that show it.
"""

import asyncio
import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.lifecycle.machine import LifeOfJobs
from tests.lifecycle.worlds import World
from tests.long import LONG

MANY = os.environ.get("HYPOTHESIS_PROFILE") == "long"


def lives(count: int, *, many: int) -> settings:
    return settings(
        max_examples=many if MANY else count,
        stateful_step_count=50 if MANY else 30,
        deadline=None,
        derandomize=not MANY,
        database=None,
        phases=(Phase.generate, Phase.shrink) if MANY else (Phase.generate,),  # shrinking takes minutes
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def test_jobs_in_postgres_live_as_the_pure_module_decides(database_url: str) -> None:
    with asyncio.Runner() as runner:
        world = World(runner, database_url)
        try:
            machine = type("InPostgres", (LifeOfJobs,), {"world": world})
            run_state_machine_as_test(machine, settings=lives(24 if LONG else 8, many=1_000))
        finally:
            world.close()
