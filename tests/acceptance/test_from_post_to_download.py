from random import Random
from typing import Any

import pytest

from tests.support.running.whole import finished_job, found_labels, result_rows, whole_service

SEVERAL_SHARDS = {"anchor_rows": 64, "shard_rows": 64}
PAIRS = {"kind": "exactly_one", "group": "question"}


def rows_with_gold(count: int) -> list[dict[str, Any]]:
    return [{"name": f"row-{i}", "text": f"claim {i}", "question": i // 2, "gold": bool(i % 2)} for i in range(count)]


def config_for(*, gold: bool = True, **changes: Any) -> dict[str, Any]:
    task: dict[str, Any] = {"template": "{text}", "id_field": "name", "relations": [PAIRS]}
    return {"task": {**task, **({"gold_field": "gold"} if gold else {})}, **changes}


async def test_deleting_or_permuting_the_gold_column_changes_no_label(database_url: str) -> None:
    rows = rows_with_gold(200)
    shuffled = Random(0).sample([row["gold"] for row in rows], len(rows))
    permuted = [{**row, "gold": gold} for row, gold in zip(rows, shuffled, strict=True)]
    without = [{name: value for name, value in row.items() if name != "gold"} for row in rows]
    async with whole_service(database_url) as (client, application):
        found = []
        told, untold = (config_for(gold=gold, search=SEVERAL_SHARDS) for gold in (True, False))
        for variant, config in ((rows, told), (permuted, told), (without, untold)):
            job = await finished_job(client, application, variant, config)
            found.append(found_labels(await result_rows(client, job)))
    assert found[0] == found[1] == found[2]
    assert len({label for label, *_ in found[0]}) == 2


async def test_every_row_of_several_shards_comes_back_labelled_in_the_users_order(database_url: str) -> None:
    rows = rows_with_gold(200)
    async with whole_service(database_url) as (client, application):
        job = await finished_job(client, application, rows, config_for(search=SEVERAL_SHARDS))
        labelled = await result_rows(client, job)
    assert job["status"] == "succeeded"
    assert job["progress"]["labeled"] == 200
    assert job["progress"]["inconsistencies"] == 0
    assert [{name: row[name] for name in rows[0]} for row in labelled] == rows
    assert list(labelled[0]) == [*rows[0], "icm_label", "icm_confidence", "icm_margin", "icm_status"]


@pytest.mark.parametrize("strategy", ["folds", pytest.param("paper", marks=pytest.mark.long)])
async def test_the_seed_decides_the_labels(database_url: str, strategy: str) -> None:
    config = config_for(search={"strategy": strategy, "seed": 7, "draws_per_row": 2})
    async with whole_service(database_url) as (client, application):
        found = [
            found_labels(await result_rows(client, await finished_job(client, application, rows_with_gold(24), config)))
            for _ in range(2)
        ]
    assert found[0] == found[1]


async def test_a_token_limit_ends_the_job_with_the_labels_so_far_and_the_report_says_so(database_url: str) -> None:
    config = config_for(limits={"max_tokens_computed": 2_000}, search={"objective": "utility"})
    async with whole_service(database_url) as (client, application):
        job = await finished_job(client, application, rows_with_gold(200), config)
        labelled = await result_rows(client, job)
        report = (await client.get(f"/v1/jobs/{job['id']}/report")).json()
    assert job["status"] == "succeeded"
    assert 0 < job["progress"]["labeled"] < 200
    assert {row["icm_status"] for row in labelled if row["icm_label"] is None} == {"unlabeled"}
    assert report["search"]["stop_reasons"] == {"limit": 1}


async def test_zero_shot_is_a_baseline_without_demonstrations(database_url: str) -> None:
    async with whole_service(database_url) as (client, application):
        job = await finished_job(client, application, rows_with_gold(30), config_for(method="zero_shot"))
        labelled = await result_rows(client, job)
    assert job["progress"]["prompts"] == 30
    assert all(row["icm_label"] in {"True", "False"} for row in labelled)


async def test_three_labels_are_found_too(database_url: str) -> None:
    config = {"task": {"template": "{text}", "labels": ["red", "green", "deep blue"]}}
    rows = [{"text": f"thing {i}"} for i in range(30)]
    async with whole_service(database_url) as (client, application):
        labelled = await result_rows(client, await finished_job(client, application, rows, config))
    assert {row["icm_label"] for row in labelled} == {"red", "green", "deep blue"}
