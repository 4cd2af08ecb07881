from typing import Any

import orjson

from tests.support.running.harness import CONFIG, Service, pairs

TASK = {**CONFIG["task"], "known_field": "sure"}


def knowing(count: int, **sure: Any) -> list[dict[str, Any]]:
    """Rows of which some are known, by their ids."""
    return [{**row, "sure": sure.get(row["id"].replace("-", "_"))} for row in pairs(count)]


async def result(service: Service, job: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await service.client.get(job["links"]["result"])
    return [orjson.loads(line) for line in answer.content.splitlines()]


# `tests/unit/search/test_known_rows.py` says so of every strategy and method, at every step.
async def test_known_rows_have_their_known_labels_in_the_result(service: Service) -> None:
    plain = await result(service, await service.labelled(knowing(12)))
    turned = {"Yes": "no", "No": "yes"}
    sure = {f"row_{number}": turned[plain[number]["icm_label"] or "Yes"] for number in (0, 2, 7)}
    rows = knowing(12, **sure)
    found = await result(service, await service.labelled(rows, task=TASK))
    assert [{name: row[name] for name in rows[0]} for row in found] == rows
    assert {row["icm_label"].lower() for row in found if row["sure"] == "yes"} <= {"yes"}
    assert {row["icm_label"].lower() for row in found if row["sure"] == "no"} <= {"no"}
    assert all(0 < row["icm_confidence"] <= 1 for row in found if row["sure"])


async def test_known_rows_beyond_the_anchor_keep_their_labels_too(service: Service) -> None:
    rows = knowing(24, **{f"row_{number}": ("yes", "no")[number % 4 // 2] for number in range(0, 24, 2)})
    search = {"anchor_rows": 8, "shard_rows": 8, "objective": "utility", "restarts": 1, "sweeps": 1}
    found = await result(service, await service.labelled(rows, task=TASK, search=search))
    assert all(row["icm_label"].lower() == row["sure"] for row in found if row["sure"])


async def test_a_known_value_that_is_no_label_is_refused_and_nothing_is_stored(service: Service) -> None:
    body = {"config": {**CONFIG, "task": TASK}, "examples": knowing(4, row_1="yes", row_2="perhaps")}
    answer = await service.client.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"line": 3, "field": "sure", "message": "the known label 'perhaps' is none of the task's labels: Yes, No"}
    ]
    assert (await service.client.get("/v1/jobs")).json()["data"] == []


async def test_an_estimate_counts_known_rows_by_label(service: Service) -> None:
    body = {"config": {**CONFIG, "task": TASK}, "examples": knowing(8, row_1="yes", row_2="no", row_4="NO")}
    answer = await service.client.post("/v1/jobs/estimate", json=body)
    assert answer.json()["known"] == {"Yes": 1, "No": 2}
