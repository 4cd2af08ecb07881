import csv
import io
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.labelling.results import content_disposition
from tests.support.running.harness import Service, pairs

FOUND = ["icm_label", "icm_confidence", "icm_margin", "icm_status"]


every_form = pytest.mark.parametrize("form", ["jsonl", pytest.param("csv", marks=pytest.mark.long), "parquet"])


@pytest.fixture(scope="module")
def service(shared_service: Service) -> Service:
    """One service for all tests of this module, which do not disturb one another."""
    return shared_service


@pytest.fixture(scope="module")
def job(finished_job: dict[str, Any]) -> dict[str, Any]:
    """A job that has succeeded, for tests that only read it."""
    return finished_job


async def result(service: Service, job: dict[str, Any], **parameters: Any) -> bytes:
    answer = await service.client.get(job["links"]["result"], params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.content


async def test_a_jsonl_result_is_the_users_rows_in_order_with_the_labels_behind(
    service: Service, job: dict[str, Any]
) -> None:
    rows = [orjson.loads(line) for line in (await result(service, job)).splitlines()]
    assert [list(row) for row in rows] == [["gold", "a", "id", "b", *FOUND]] * 8
    assert [{name: row[name] for name in ("gold", "a", "id", "b")} for row in rows] == pairs(8)
    assert {row["icm_label"] for row in rows} == {"Yes", "No"}
    assert all(0 < row["icm_confidence"] <= 1 for row in rows)


async def test_csv_and_parquet_have_the_same_rows_as_jsonl(service: Service, job: dict[str, Any]) -> None:
    rows = [orjson.loads(line) for line in (await result(service, job, format="jsonl")).splitlines()]
    table = pq.read_table(io.BytesIO(await result(service, job, format="parquet")))
    assert table.to_pylist() == rows
    records = list(csv.DictReader(io.StringIO((await result(service, job, format="csv")).decode())))
    assert records == [{name: str(value) for name, value in row.items()} for row in rows]


@pytest.mark.usefixtures("reader_without_a_process")
async def test_a_parquet_file_comes_back_with_its_types(service: Service) -> None:
    vectors = pa.array([[0.1], [], None, [2]], pa.list_(pa.float32()))
    sent = pa.Table.from_pylist(pairs(4)).append_column("vector", vectors)
    sent = sent.append_column("price", pa.array(["1.50", "-2", "3", None]).cast(pa.decimal128(12, 2)))
    sent = sent.set_column(0, "gold", sent["gold"].cast(pa.dictionary(pa.int32(), pa.string())))
    sink = io.BytesIO()
    pq.write_table(sent, sink)
    job = (await service.upload(sink.getvalue(), "pairs.parquet")).json()
    await service.work()
    found = pq.read_table(io.BytesIO(await result(service, job, format="parquet"))).select(sent.column_names)
    assert found.schema.equals(sent.schema)
    assert found.to_pylist() == sent.to_pylist()


async def test_values_come_back_as_they_were_sent(service: Service) -> None:
    odd = {
        "text": 'a\n"b"\t😀 =1+1',
        "whole": 2**63 - 1,
        "float": 0.1,
        "none": None,
        "list": [1, {"x": None}],
        "t": True,
    }
    rows = [{**row, **odd} for row in pairs(4)]
    rows[1]["only here"] = 1
    job = await service.labelled(rows, method="zero_shot")
    found = [orjson.loads(line) for line in (await result(service, job)).splitlines()]
    assert [{name: value for name, value in row.items() if name not in FOUND} for row in found] == rows


async def test_a_result_is_a_conflict_until_the_job_is_finished(service: Service) -> None:
    job = await service.post()
    for partial in ("false", "true"):
        answer = await service.client.get(job["links"]["result"], params={"partial": partial})
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:icm:problem:job-not-finished")


async def test_a_cancelled_job_gives_a_partial_result_on_request_only(service: Service) -> None:
    job = await service.post()
    await service.client.post(job["links"]["cancel"])
    assert (await service.client.get(job["links"]["result"])).status_code == 409
    rows = [orjson.loads(line) for line in (await result(service, job, partial="true")).splitlines()]
    assert [(row["id"], row["icm_label"], row["icm_status"]) for row in rows] == [
        (f"row-{number}", None, "unlabeled") for number in range(8)
    ]


async def test_a_download_is_named_after_the_job(service: Service) -> None:
    job = await service.labelled(name="paires/été", method="zero_shot")
    answer = await service.client.get(job["links"]["result"], params={"format": "csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert (
        answer.headers["Content-Disposition"]
        == "attachment; filename=\"paires__t_.csv\"; filename*=UTF-8''paires_%C3%A9t%C3%A9.csv"
    )


@pytest.mark.parametrize("name", ['a"b', "a\r\nSet-Cookie: x", "a\\b", "../../etc/passwd", "a;b=c", "😀" * 50])
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert "/" not in header


async def test_an_unchanged_result_is_not_sent_again(service: Service, job: dict[str, Any]) -> None:
    etags = {}
    for form in ("jsonl", "csv", "parquet"):
        link = f"{job['links']['result']}?format={form}"
        etags[form] = (await service.client.get(link)).headers["ETag"]
        assert (await service.client.get(link, headers={"If-None-Match": etags[form]})).status_code == 304
    assert len(set(etags.values())) == 3


async def test_an_unknown_format_is_refused(service: Service, job: dict[str, Any]) -> None:
    answer = await service.client.get(job["links"]["result"], params={"format": "xlsx"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "format")


RAW, FLAG = "icm_raw_probability", "raw_probability"


async def test_the_raw_probability_is_given_on_request_behind_the_other_columns(
    service: Service, job: dict[str, Any]
) -> None:
    plain = [orjson.loads(line) for line in (await result(service, job)).splitlines()]
    rows = [orjson.loads(line) for line in (await result(service, job, raw_probability="true")).splitlines()]
    assert [list(row)[-5:] for row in rows] == [[*FOUND, RAW]] * 8
    assert [{name: value for name, value in row.items() if name != RAW} for row in rows] == plain
    assert all(0 < row[RAW] <= 1 for row in rows)
    table = pq.read_table(io.BytesIO(await result(service, job, raw_probability="true", format="parquet")))
    assert table.to_pylist() == rows
    records = csv.DictReader(io.StringIO((await result(service, job, raw_probability="true", format="csv")).decode()))
    assert list(records) == [{name: str(value) for name, value in row.items()} for row in rows]


@every_form
async def test_a_result_without_raw_probabilities_is_unchanged_and_has_its_own_etag(
    service: Service, job: dict[str, Any], form: str
) -> None:
    link = f"{job['links']['result']}?format={form}"
    plain, false, raw = [await service.client.get(link + f"{more}") for more in ("", f"&{FLAG}=false", f"&{FLAG}=true")]
    assert plain.content == false.content != raw.content
    assert plain.headers["ETag"] == false.headers["ETag"] != raw.headers["ETag"]
    assert RAW.encode() not in plain.content
    assert RAW.encode() in raw.content


@every_form
async def test_a_column_of_the_users_is_never_replaced_by_raw_probabilities(service: Service, form: str) -> None:
    job = await service.labelled([{**row, RAW: "mine"} for row in pairs(8)], method="zero_shot")
    answer = await service.client.get(job["links"]["result"], params={FLAG: True, "format": form})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, FLAG)
    assert (await result(service, job, format=form)).count(b"mine") >= 1


async def test_rows_without_a_label_have_no_raw_probability(service: Service) -> None:
    job = await service.post()
    await service.client.post(job["links"]["cancel"])
    lines = (await result(service, job, partial="true", raw_probability="true")).splitlines()
    assert [orjson.loads(line)[RAW] for line in lines] == [None] * 8


async def all_labels(service: Service, job: dict[str, Any], **parameters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await service.get(job["id"], "/labels", **parameters, **cursor)
        found += page["data"]
        if not page["has_more"]:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def test_label_states_are_paged_by_position(service: Service, job: dict[str, Any]) -> None:
    found = await all_labels(service, job, limit=3)
    assert [(state["position"], state["id"]) for state in found] == [(n, f"row-{n}") for n in range(8)]
    assert list(found[0]) == ["id", "position", *FOUND, "reason"]


async def test_label_states_are_paged_from_the_least_confident_on(service: Service, job: dict[str, Any]) -> None:
    found = await all_labels(service, job, limit=3, order="confidence")
    assert sorted(state["position"] for state in found) == list(range(8))
    confidences = [state["icm_confidence"] for state in found]
    assert confidences == sorted(confidences)


async def test_label_states_of_a_waiting_job_have_no_label(service: Service) -> None:
    job = await service.post()
    for order in ("position", "confidence"):
        found = await all_labels(service, job, limit=3, order=order)
        assert [(state["icm_label"], state["icm_status"]) for state in found] == [(None, "unlabeled")] * 8


async def test_a_cursor_is_valid_for_its_own_list_only(service: Service) -> None:
    one, other = [await service.labelled(method="zero_shot") for _ in range(2)]
    cursor = (await service.get(one["id"], "/labels", limit=3))["next_cursor"]
    for link in (other["links"]["labels"] + "?", one["links"]["labels"] + "?order=confidence&", "/v1/jobs?"):
        answer = await service.client.get(f"{link}cursor={cursor}")
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:icm:problem:invalid-cursor")


async def test_a_report_judges_counts_and_compares_with_gold(service: Service) -> None:
    job = await service.labelled(pairs(40))
    found = await service.get(job["id"], "/report")
    result_rows = [orjson.loads(line) for line in (await result(service, job)).splitlines()]
    agreeing = sum(row["icm_label"].lower() == row["gold"] for row in result_rows)
    assert found["verdict"] in {"ok", "suspicious", "do_not_use"}
    assert [share["label"] for share in found["labels"]] == ["Yes", "No"]
    assert [share["rows"] for share in found["labels"]] == [20, 20]
    assert sum(found["statuses"].values()) == 40
    assert (found["gold_rows"], found["gold_rows_labeled"]) == (40, 40)
    assert found["accuracy"] == agreeing / 40
    assert found["cost"]["tokens_computed"] == job["progress"]["tokens_computed"]
    assert found["search"]["utility"] == job["progress"]["utility"]
    assert sum(found["search"]["stop_reasons"].values()) == 1


async def test_without_gold_a_report_has_no_accuracy(service: Service) -> None:
    rows = [{name: value for name, value in row.items() if name != "gold"} for row in pairs(8)]
    found = await service.get(
        (await service.labelled(rows, task=task_without_gold(), method="zero_shot"))["id"], "/report"
    )
    assert (found["gold_rows"], found["accuracy"]) == (0, None)


def task_without_gold() -> dict[str, Any]:
    return {"template": "{a} {b}", "labels": ["Yes", "No"]}


async def test_gold_true_is_the_label_true(service: Service) -> None:
    rows = [{"q": f"row {number}", "gold": gold} for number, gold in enumerate([True, "TRUE", "true", False, None])]
    task = {"template": "{q}", "gold_field": "gold"}
    job = await service.labelled(rows, task=task, method="zero_shot")
    found = await service.get(job["id"], "/report")
    labels = [orjson.loads(line)["icm_label"] for line in (await result(service, job)).splitlines()]
    expected = sum(a == b for a, b in zip(labels, ["True", "True", "True", "False"], strict=False))
    assert found["gold_rows"] == 4
    assert found["accuracy"] == expected / 4


async def test_a_report_of_a_queued_job_has_the_verdict_do_not_use(service: Service) -> None:
    found = await service.get((await service.post())["id"], "/report")
    assert found["verdict"] == "do_not_use"
    assert {reason["code"] for reason in found["reasons"]} >= {"unfinished", "no_labels"}
