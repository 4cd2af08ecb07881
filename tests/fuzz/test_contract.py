"""The short form of `make fuzz`: the same service and the same checks, few examples, the same ones every time."""

from pathlib import Path

import pytest

from tests.fuzz.contract import fuzz
from tests.fuzz.served import served

LOADS_A_REWARD_MODEL = "POST /v1/score"  # which takes a process with torch: here it refuses whatever it is asked
SHORT = ("--max-examples", "10", "--generation-deterministic", "--phases", "examples,fuzzing,stateful")


@pytest.mark.timeout(300)
async def test_the_api_answers_as_its_openapi_document_says(database_url: str, tmp_path: Path) -> None:
    async with served(database_url, tmp_path / "api.log") as service:
        found = await fuzz(service, tmp_path, *SHORT)
    assert found.is_complete, found.text
    assert not found.failures + found.errors, f"{found.text}\n{found.table()}"
    accepted = [operation for operation, counts in found.requests.items() if counts.get("2xx")]
    assert set(found.requests) - {LOADS_A_REWARD_MODEL} == set(accepted), found.table()
