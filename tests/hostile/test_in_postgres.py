"""Text that looks like an SQL statement is harmless in a real database."""

from typing import Any

import httpx
import pytest

from service.storage.store import PostgresStore
from tests.hostile.test_corpus import SETTINGS, given_back
from tests.support.running.harness import CONFIG, Service, pairs
from tests.support.stores import row_counts

STATEMENTS = (
    "'; DROP TABLE jobs; --",
    '" OR ""="',
    "$$; DELETE FROM jobs; $$",
    "' OR '1'='1",
    "1; SELECT pg_sleep(60)",
    "') UNION SELECT value FROM gold_labels --",
    "\\'; TRUNCATE datasets; --",
    "%' AND 1=1 --",
    "/* */ ; COPY jobs TO PROGRAM 'id'",
    ":id %(id)s $1 ? {key}",
    "E'\\x27'",
    "\u02bc\uff07 OR 1=1",
    "pg_notify('work', '')",
    "null",
    "jobs.id",
)
ALWAYS = 3  # statements that the short form tries: one for each kind of quotes
STATUSES = [202, 202, 202, 422, 404, 404, 404, 422, 400, 422, 200, 200]  # of what `asked` asks; any text gets the same


def with_statement(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Requests with the text in every place that takes any."""
    task: dict[str, Any] = {
        "template": f"{text.replace('{', '{{').replace('}', '}}')} {{a}}",
        "labels": [text, "No"],
        "separator": f"{text} {text}",
        "id_field": "id",
        "gold_field": "gold",
        "relations": [{"kind": "same_label", "group": text, "label": text}],
    }
    rows = [{"id": f"{text} {n}", "a": f"{text} {n}", text: text, "gold": text} for n in range(4)]
    accepted = {"json": {"config": {"name": text, "task": task}, "examples": rows}}
    keyed = {"json": {"config": CONFIG, "examples": pairs(4)}, "headers": {"Idempotency-Key": ascii(text)}}
    unknown = {"json": {"config": {**CONFIG, "model": text}, "examples": pairs(4)}}
    return [("/v1/jobs", accepted), ("/v1/jobs", keyed), ("/v1/jobs", keyed), ("/v1/jobs", unknown)]


async def asked(service: Service, text: str) -> list[Any]:
    """The answers to all of them, and to reads with the text in every parameter."""
    found: list[Any] = []
    for path, request in with_statement(text):
        answer = await service.client.post(path, **request)
        found.append(outcome(answer))
        if answer.status_code == 202:
            found.append(await given_back(service, answer.json()))
    paths = [f"/v1/jobs/{httpx.QueryParams(x=text)}", *(f"/v1/jobs/job_0/{part}" for part in ("labels", "result"))]
    parameters = [{name: text} for name in ("status", "cursor", "limit", "format", "order")]
    reading = [*((path, {"cursor": text}) for path in paths), *(("/v1/jobs", given) for given in parameters)]
    return found + [outcome(await service.client.get(path, params=given)) for path, given in reading]


def outcome(answer: httpx.Response) -> tuple[int, Any]:
    """Status and what does not differ between two runs of the same request."""
    body = answer.json()
    return answer.status_code, body.get("errors") or body.get("detail") or body.get("config") or len(body["data"])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=str(number), marks=[pytest.mark.long] if number >= ALWAYS else [])
        for number, text in enumerate(STATEMENTS)
    ],
)
async def test_statements_in_any_text_are_text(text: str, postgres_store: PostgresStore, database_url: str) -> None:
    service = Service(postgres_store, settings=SETTINGS)
    async with service.client:
        found = await asked(service, text)
    assert [part[0] for part in found if isinstance(part, tuple)] == STATUSES
    assert found[1] == with_statement(text)[0][1]["json"]["examples"]
    counts = await row_counts(database_url)
    assert (counts["jobs"], counts["dataset_rows"], counts["gold_labels"]) == (2, 8, 8)
