import gzip
import io
from codecs import BOM_UTF8
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.settings import Settings, UploadSettings
from tests.support.running.harness import CONFIG, Service, jsonl, pairs
from tests.support.stores import ScratchStore


def csv_of(rows: list[dict[str, Any]]) -> bytes:
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    return "\n".join(lines).encode()


def parquet_of(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


@pytest.mark.usefixtures("reader_without_a_process")
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
async def test_every_format_is_taken_packed_or_not_by_its_name_or_its_content(service: Service, packed: bool) -> None:
    for ending, write in (("jsonl", jsonl), ("csv", csv_of), ("parquet", parquet_of)):
        content = gzip.compress(write(pairs(8))) if packed else write(pairs(8))
        for name in (f"pairs.{ending}" + (".gz" if packed else ""), "blob"):
            answer = await service.upload(content, name, "/v1/jobs/estimate")
            assert (answer.status_code, answer.json()["rows"]) == (200, 8), name


async def test_the_configuration_may_come_as_a_file_part(service: Service) -> None:
    files: dict[str, Any] = {
        "dataset": ("a.jsonl", jsonl(pairs(8))),
        "config": ("c.json", orjson.dumps(CONFIG), "application/json"),
    }
    assert (await service.client.post("/v1/jobs", files=files)).status_code == 202


async def test_a_byte_order_mark_before_a_configuration_file_is_passed_over(service: Service) -> None:
    parts: dict[str, Any] = {
        "dataset": ("a.jsonl", jsonl(pairs(8))),
        "config": ("c.json", BOM_UTF8 + orjson.dumps(CONFIG)),
    }
    assert (await service.client.post("/v1/jobs", files=parts)).status_code == 202


async def test_nothing_is_stored_where_any_row_is_bad(service: Service) -> None:
    rows: list[dict[str, Any]] = [*pairs(8), {"id": "bad", "a": 1}, {"id": "row-0", "a": 1, "b": 2}]
    answer = await service.upload(jsonl(rows), "a.jsonl")
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"] == [
        {
            "line": 9,
            "field": "b",
            "message": "the field is missing, but the task reads it; fill it in, or leave the row out",
        },
        {"line": 10, "field": "id", "message": "the id 'row-0' was used before, on line 1"},
    ]
    assert (await service.client.get("/v1/jobs")).json()["data"] == []


BAD_BODIES: list[tuple[Any, str, str | None]] = [
    ({"examples": [{}]}, "invalid-config", "config"),
    ({"config": CONFIG}, "invalid-dataset", "examples"),
    ({"config": CONFIG, "examples": {}}, "invalid-dataset", "examples"),
    ({"config": CONFIG, "examples": []}, "invalid-dataset", None),
    ({"config": CONFIG, "examples": [1]}, "invalid-dataset", None),
    ({"config": CONFIG, "examples": [{}], "more": 1}, "invalid-config", "more"),
    ({"config": {**CONFIG, "model": "other"}, "examples": pairs(8)}, "model-not-found", "model"),
    ({"config": {**CONFIG, "modle": "x"}, "examples": pairs(8)}, "invalid-config", "modle"),
    ([], "invalid-config", None),
]


async def test_a_bad_json_body_is_refused_by_field(service: Service) -> None:
    for body, kind, field in BAD_BODIES:
        answer = await service.client.post("/v1/jobs", json=body)
        problem = answer.json()
        assert (answer.status_code, problem["type"]) == (422, f"urn:icm:problem:{kind}"), body
        assert [error["field"] for error in problem.get("errors", [{"field": None}])] == [field], body


async def test_all_rows_of_a_body_with_nan_or_infinity_are_refused_together(service: Service) -> None:
    rows = b'{"a":NaN,"b":1},{"a":1,"b":[Infinity]},' + b'{"a":NaN,"b":1},' * 4 + b'{"a":1,"b":2}'
    body = b'{"config":%s,"examples":[%s]}' % (orjson.dumps(CONFIG), rows)
    answer = await service.client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "urn:icm:problem:invalid-dataset")
    what = "NaN and Infinity are not JSON; write null or text"
    assert [(error["line"], error["field"], error["message"]) for error in problem["errors"]] == [
        (1, "a", f"is NaN; {what}; likewise on 5 lines: 1, 3, 4 and 2 more"),
        (2, "b", f"is Infinity; {what}"),
    ]


async def test_a_deep_body_with_nan_is_refused_as_well(service: Service) -> None:
    for depth in (100, 5_000):
        body = b'{"examples":[{"a":NaN,"b":%s}]}' % (b"[" * depth)
        answer = await service.client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, depth


UNUSABLE = [b"", b"{", b'{"config": NaN}', b"\xff", b'{"config":{"name":"a\\u0000"},"examples":[]}', b"[" * 100_000]


async def test_a_body_that_is_not_usable_json_is_refused(service: Service) -> None:
    for body in UNUSABLE:
        answer = await service.client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:icm:problem:invalid-config"), body[:40]


BAD_PARTS: list[tuple[dict[str, Any], str]] = [
    ({"files": {"dataset": ("a.jsonl", b'{"a":1}')}}, "config"),
    ({"files": {"other": ("a.jsonl", b"")}, "data": {"config": orjson.dumps(CONFIG)}}, "other"),
    ({"files": [("dataset", ("a", b"")), ("dataset", ("b", b""))]}, "dataset"),
    ({"files": {"dataset": ("a.jsonl", b"")}, "data": {"config": b"{"}}, "config"),
    ({"files": {"dataset": ("a.jsonl", b""), "config": ("c", b"\xff")}}, "config"),
]


async def test_a_missing_or_unreadable_part_is_named(service: Service) -> None:
    for parts, field in BAD_PARTS:
        answer = await service.client.post("/v1/jobs", **parts)
        assert answer.status_code == 422, parts
        assert [error["field"] for error in answer.json()["errors"]] == [field], parts


async def test_another_content_type_is_not_supported(service: Service) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await service.client.post("/v1/jobs", content=b"x", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["type"]) == (415, "urn:icm:problem:unsupported-format"), kind


async def test_a_packed_body_is_not_supported(service: Service) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert (await service.client.post("/v1/jobs", content=gzip.compress(b"{}"), headers=headers)).status_code == 415


async def test_broken_multipart_is_a_client_error(service: Service) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for content in (b"--x\r\nbroken", b"", b"--x--\r\n"):
        answer = await service.client.post("/v1/jobs", content=content, headers=headers)
        assert answer.status_code in {400, 422}, content
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_data_set_of_unknown_format_is_not_supported(service: Service) -> None:
    assert (await service.upload(b"\x89PNG", "cat.png")).status_code == 415


def small() -> Service:
    return Service(ScratchStore(), settings=Settings(upload=UploadSettings(max_bytes=3_000_000, max_rows=10)))


async def test_too_many_rows_are_too_large() -> None:
    answer = await small().upload(jsonl(pairs(12)), "a.jsonl")
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:icm:problem:payload-too-large")
    assert answer.json()["detail"].endswith(
        "in parts, as several jobs, or ask the operator to raise ICM_UPLOAD__MAX_ROWS"
    )


async def test_a_body_that_says_it_is_too_long_is_not_read() -> None:
    async def unread() -> Any:
        raise AssertionError("the body was read")
        yield b""

    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "6000000"}
    answer = await small().client.post("/v1/jobs", content=unread(), headers=headers)
    assert answer.status_code == 413
    assert "in parts, as several jobs, or ask the operator to raise ICM_UPLOAD__MAX_BYTES" in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json"])
async def test_a_body_that_turns_out_too_long_is_not_read_to_its_end(kind: str) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="dataset"; filename="a.csv"\r\n\r\n'
        while sent < 100_000_000:
            sent += 100_000
            yield b"x" * 100_000

    answer = await small().client.post("/v1/jobs", content=endless(), headers={"Content-Type": kind})
    assert answer.status_code == 413
    assert sent < 20_000_000


async def test_an_estimate_has_the_cost_and_stores_nothing(service: Service) -> None:
    answer = await service.upload(jsonl(pairs(20)), "a.jsonl", "/v1/jobs/estimate")
    estimate = answer.json()
    assert answer.status_code == 200
    assert list(estimate) == [
        "object",
        "rows",
        "groups",
        "shards",
        "prompts",
        "tokens_sent",
        "tokens_computed",
        "at_most",
        "trainings",
        "tokens_trained",
        "sample_prompt",
        "relations",
        "known",
        "warnings",
    ]
    assert (estimate["rows"], estimate["groups"], estimate["relations"]["largest_group"]) == (20, 10, 2)
    assert estimate["sample_prompt"] == "Is 1 larger than 0? It is Yes\n\nIs 0 larger than 1? It is"
    assert (await service.client.get("/v1/jobs")).json()["data"] == []


async def test_an_estimate_refuses_what_a_job_would_refuse(service: Service) -> None:
    answer = await service.upload(b"{}\n", "a.jsonl", "/v1/jobs/estimate")
    assert answer.status_code == 422
